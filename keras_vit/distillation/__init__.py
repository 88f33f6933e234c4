"""Distillation: a student learns from labels and from what a teacher makes of the same images.

    teacher = Teacher("teacher.onnx", student.config.preprocessing, class_names)
    learning = Distillation(teacher, "soft", alpha=0.1, temperature=3.0)
    fitted = learning.student(student)
    fitted.compile(**learning.compile(r.compile))
    fitted.fit(learning.targets(r.augment(train)), validation_data=r.evaluation(valid), **r.fit)

`student` is trained by that, and `keras_vit.train(..., teacher="teacher.onnx")` does all of it.
"""

from typing import TYPE_CHECKING

from keras_vit._lazy import lazy

if TYPE_CHECKING:
    from keras_vit.distillation.learning import Distillation as Distillation
    from keras_vit.distillation.losses import DistillationLoss as DistillationLoss
    from keras_vit.distillation.losses import DistilledAccuracy as DistilledAccuracy
    from keras_vit.distillation.losses import joint_targets as joint_targets
    from keras_vit.distillation.teachers import Teacher as Teacher

_PUBLIC = {
    "Distillation": "learning",
    "DistillationLoss": "losses",
    "DistilledAccuracy": "losses",
    "joint_targets": "losses",
    "Teacher": "teachers",
}

__all__ = [*_PUBLIC]

__getattr__ = lazy(__name__, _PUBLIC)
