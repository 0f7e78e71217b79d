from __future__ import annotations

import shutil

from pipelines.currency import currency_of


def test_the_currency_is_the_one_that_every_source_names(small_shop, tmp_path):
    shop = small_shop.copy(tmp_path)
    assert currency_of(shop.home) == "GBP"
    source = shop.home.sources / "shop"
    other = shop.home.sources / "shop_two"
    shutil.copytree(source, other)
    mapping = other / "mapping.json"
    text = mapping.read_text(encoding="utf-8")
    assert text.count('"GBP"') == 1
    mapping.write_text(text.replace('"GBP"', '"EUR"'), encoding="utf-8")
    assert currency_of(shop.home) is None


def test_without_a_source_there_is_none(home):
    assert currency_of(home) is None
