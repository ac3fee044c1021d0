"""The shared market files as plain frames, read with a few lines of polars, for tests that need real bars.

Each returns ``ts_event`` (int64 ns, UTC, the close), ``open``, ``high``, ``low``, ``close`` and ``volume`` (float64, null where the
file has none). The data room's importer is tested on its own; this reader shares nothing with it.
"""

from functools import lru_cache

import polars as pl

from shared_data import shared

MINUTE_NS = 60_000_000_000


@lru_cache(maxsize=4)
def nq_30m() -> pl.DataFrame:
    """NQ, half-hour bars, 2020-06-29 to 2024-06-28."""
    return _jerusalem("bars/futures_30m/NQ_30m_eth_20200629_20240628.csv.gz")


@lru_cache(maxsize=4)
def cl_30m() -> pl.DataFrame:
    """CL, half-hour bars, 2020-06-29 to 2024-06-28."""
    return _jerusalem("bars/futures_30m/CL_30m_eth_20200629_20240628.csv.gz")


@lru_cache(maxsize=4)
def nq_5m() -> pl.DataFrame:
    """NQ, five-minute bars, January to October 2019, without volume."""
    frame = pl.read_csv(shared("data/bars/futures_5m/NQ_5m_20190101_20191031.csv.gz"))
    opened = _utc_ns(pl.col("DT").str.to_datetime("%Y-%m-%d %H:%M:%S"), "America/Los_Angeles")
    prices = [pl.col(short).cast(pl.Float64).alias(name) for short, name in zip("OHLC", _PRICES, strict=True)]
    return frame.select(
        (opened + 5 * MINUTE_NS).alias("ts_event"), *prices, pl.lit(None, dtype=pl.Float64).alias("volume")
    )


_PRICES = ("open", "high", "low", "close")


def _jerusalem(relative: str) -> pl.DataFrame:
    frame = pl.read_csv(shared(f"data/{relative}"))
    stamp = pl.col("Timestamp").str.strip_chars()
    # Day before month on every row; the short spelling has neither padding nor seconds.
    local = pl.coalesce(
        stamp.str.to_datetime("%d/%m/%Y %H:%M:%S", strict=False), stamp.str.to_datetime("%d/%m/%Y %H:%M", strict=False)
    )
    columns = frame.columns[1:]
    names = (*_PRICES, "volume")
    values = [pl.col(column).cast(pl.Float64).alias(name) for column, name in zip(columns, names, strict=True)]
    return frame.select((_utc_ns(local, "Asia/Jerusalem") + 30 * MINUTE_NS).alias("ts_event"), *values)


def _utc_ns(local: pl.Expr, zone: str) -> pl.Expr:
    return local.dt.replace_time_zone(zone, ambiguous="earliest").dt.convert_time_zone("UTC").dt.epoch("ns")
