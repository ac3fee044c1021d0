"""The errors of evaluation.

::

    GrandModelError
    └── UsageError
        └── TrainingError
            └── EvaluationError            returns, folds or competitors cannot be evaluated as asked
                └── LastFoldTouchedError   the last fold was evaluated before, for another model
"""

from grandmodel.training.errors import TrainingError


class EvaluationError(TrainingError):
    """Returns, folds or competitors cannot be evaluated; the message says what was found and what was expected."""


class LastFoldTouchedError(EvaluationError):
    """The last fold is for one look. It was evaluated before, for other model content, and no reason was given to look again."""
