"""The normaliser: fitted on the training stretch alone, saved as plain data, tied to its schema."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from grandmodel.features import STRATEGIC_SCHEMA, TACTICAL_SCHEMA, FeatureError, SchemaMismatch
from grandmodel.features.normaliser import LIMIT, Normaliser, NormaliserData


def table(seed: int = 1, size: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows = rng.normal(3.0, 2.0, (size, 13))
    rows[:60] = np.nan
    return rows, np.arange(size, dtype=np.int64)


def fit(rows: np.ndarray, stamps: np.ndarray, until: int = 700) -> Normaliser:
    return Normaliser.fit(rows, stamps, STRATEGIC_SCHEMA, train_from_ns=0, train_to_ns=until)


def test_nothing_behind_the_training_stretch_is_seen() -> None:
    rows, stamps = table()
    changed = rows.copy()
    changed[701:] = 1e9
    np.testing.assert_array_equal(fit(rows, stamps).scale, fit(changed, stamps).scale)
    changed[700] = 1e9
    assert (fit(rows, stamps).centre != fit(changed, stamps).centre).any()


def test_rescaled_columns_come_out_standard_and_flags_as_they_were() -> None:
    rows, stamps = table()
    out = fit(rows, stamps).apply(rows)
    for place, column in enumerate(STRATEGIC_SCHEMA.columns):
        if column.rescale:
            assert abs(np.median(out[60:701, place])) < 1e-12
            assert 0.9 < np.nanstd(out[:701, place]) < 1.1
        else:
            np.testing.assert_array_equal(out[:, place], rows[:, place])
    assert np.isnan(out[:60]).all()  # unknown stays unknown


def test_wild_values_are_held_and_a_column_of_one_number_is_only_shifted() -> None:
    rows, stamps = table()
    rows[500, 0], rows[501, 0] = 1e6, -1e6
    rows[:, 2] = 4.0
    out = fit(rows, stamps).apply(rows)
    assert out[500, 0] == LIMIT
    assert out[501, 0] == -LIMIT
    assert (out[60:, 2] == 0).all()


def test_columns_that_need_an_unknown_volume_become_nothing() -> None:
    rows, stamps = table()
    schema = STRATEGIC_SCHEMA.without_volume()
    rows[:, list(schema.unknown_columns)] = np.nan
    normaliser = Normaliser.fit(rows, stamps, schema, train_from_ns=0, train_to_ns=700)
    out = normaliser.apply(rows.reshape(10, 100, 13))
    assert (out[..., list(schema.unknown_columns)] == 0).all()
    with pytest.raises(FeatureError, match="found 0 whole rows"):
        fit(rows, stamps)


def test_plain_data_goes_through_json_exactly() -> None:
    normaliser = fit(*table())
    data = msgspec.json.decode(msgspec.json.encode(normaliser.to_data()), type=NormaliserData)
    again = Normaliser.from_data(data, STRATEGIC_SCHEMA)
    assert again.to_data() == normaliser.to_data()
    rows, _ = table(2)
    np.testing.assert_array_equal(again.apply(rows), normaliser.apply(rows))


def test_another_schema_is_refused() -> None:
    data = fit(*table()).to_data()
    for other in (STRATEGIC_SCHEMA.without_volume(), replace(STRATEGIC_SCHEMA, definitions_version=2), TACTICAL_SCHEMA):
        with pytest.raises(SchemaMismatch, match="train or compute it anew"):
            Normaliser.from_data(data, other)
    with pytest.raises(FeatureError, match="scales above 0"):
        Normaliser.from_data(msgspec.structs.replace(data, scale=(0.0,) * 13), STRATEGIC_SCHEMA)


def test_too_few_rows_or_columns_are_refused() -> None:
    rows, stamps = table()
    with pytest.raises(FeatureError, match="found 41 whole rows"):
        fit(rows, stamps, until=100)
    with pytest.raises(FeatureError, match="expected"):
        fit(rows[:, :5], stamps)
    with pytest.raises(FeatureError, match="13 columns"):
        fit(rows, stamps).apply(rows[:, :7])


def test_the_hash_of_a_schema_depends_on_every_part_of_it() -> None:
    column = replace(STRATEGIC_SCHEMA.columns[0], meaning="another")
    variants = [
        STRATEGIC_SCHEMA,
        TACTICAL_SCHEMA,
        STRATEGIC_SCHEMA.without_volume(),
        replace(STRATEGIC_SCHEMA, rows=47),
        replace(STRATEGIC_SCHEMA, columns=(column, *STRATEGIC_SCHEMA.columns[1:])),
    ]
    assert len({schema.hash for schema in variants}) == len(variants)
    assert STRATEGIC_SCHEMA.hash == replace(STRATEGIC_SCHEMA).hash
    assert STRATEGIC_SCHEMA.place("mmd_score") == 8
    with pytest.raises(FeatureError, match="mmd"):
        STRATEGIC_SCHEMA.place("nothing")
