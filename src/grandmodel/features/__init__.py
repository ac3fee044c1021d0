"""Features: compiled indicators and the two matrices that the agents see.

Start with ``averages.py`` for the two forms of an indicator, then ``strategic.py`` and ``tactical.py`` for the matrices,
``schema.py`` for what the columns are, and ``docs/concepts/features.md`` for pictures of them.
"""

from grandmodel.features.batch import RowsJob, RowsProgress, RowsResult, compute_rows
from grandmodel.features.errors import FeatureError, SchemaMismatch
from grandmodel.features.normaliser import Normaliser, NormaliserData
from grandmodel.features.schema import (
    AGENT_COLUMNS,
    STRATEGIC_SCHEMA,
    TACTICAL_SCHEMA,
    TIME_COLUMNS,
    FeatureColumn,
    FeatureSchema,
)
from grandmodel.features.sessions import TradingDays, cme_globex_sessions, exchange_sessions
from grandmodel.features.strategic import StrategicState, strategic_rows
from grandmodel.features.tactical import TacticalState, tactical_rows
from grandmodel.features.windows import newest_known, rolling_windows

__all__ = [
    "AGENT_COLUMNS",
    "STRATEGIC_SCHEMA",
    "TACTICAL_SCHEMA",
    "TIME_COLUMNS",
    "FeatureColumn",
    "FeatureError",
    "FeatureSchema",
    "Normaliser",
    "NormaliserData",
    "RowsJob",
    "RowsProgress",
    "RowsResult",
    "SchemaMismatch",
    "StrategicState",
    "TacticalState",
    "TradingDays",
    "cme_globex_sessions",
    "compute_rows",
    "exchange_sessions",
    "newest_known",
    "rolling_windows",
    "strategic_rows",
    "tactical_rows",
]
