"""What the licences of published weights allow, as far as a user must know before a download. No Keras."""

COMMERCIAL: dict[str, bool | None] = {
    "apache-2.0": True,
    "mit": True,
    # creativecommons.org/licenses/by-nc/4.0
    "cc-by-nc-4.0": False,
    # huggingface.co/facebook/fair-noncommercial-research-license
    "fair-noncommercial-research-license": False,
    # Apple Machine Learning Research Model: research purposes alone
    "apple-amlr": False,
    # Terms of their own, which the publisher's page has.
    "apple-ascl": None,
    "dinov3-license": None,
    "nvidia-open-model-license": None,
    "sapiens2-license": None,
    "not stated": None,
}
"""Whether commercial use is allowed, by SPDX identifier or the hub's name; None: read its terms."""

_MARKS = {True: "", False: "non-commercial", None: "own terms"}


def mark(licence: str) -> str:
    """`"non-commercial"`, `"own terms"`, or nothing for a licence that allows any use."""
    return _MARKS[COMMERCIAL[licence]]


def marked(licence: str) -> str:
    """The licence with its mark in brackets."""
    return f"{licence} ({mark(licence)})" if mark(licence) else licence
