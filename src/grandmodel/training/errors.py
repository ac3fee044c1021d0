"""The errors of training.

::

    GrandModelError
    └── UsageError
        └── TrainingError
            ├── EnvironmentContractError   an environment does not keep the PettingZoo or the batched contract
            ├── TrainingSettingsError      a setting is out of range, or two settings contradict each other
            ├── TrainingDataError          market data cannot be learnt from
            ├── CheckpointError            a checkpoint is damaged, or belongs to another run
            ├── TrialLogError              the log of trials is damaged, or what was asked of it does not fit what it holds
            └── DivergenceError            a number that learning rests on is not finite
"""

from grandmodel.domain.errors import UsageError


class TrainingError(UsageError):
    """Training cannot start or go on as asked."""


class EnvironmentContractError(TrainingError):
    """An environment broke the contract that the trainer relies on; the message names the agent and the rule."""


class TrainingSettingsError(TrainingError):
    """A setting is out of range, or contradicts another or the environment."""


class TrainingDataError(TrainingError):
    """Bars, spans or features cannot be learnt from; the message says what was found and what was expected."""


class CheckpointError(TrainingError):
    """A checkpoint cannot be read, is damaged, or belongs to a different run."""


class DivergenceError(TrainingError):
    """An observation, reward, loss or weight is not finite; training on it would only hide the cause."""


class TrialLogError(TrainingError):
    """The log of trials is damaged, or what was asked of it does not fit what it holds."""
