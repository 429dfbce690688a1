"""What a stated license allows: every license of the catalog, and every doubt beside one."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultrasam.cli.data.catalogue import Tier as Option
from ultrasam.datasets.catalogue import facts
from ultrasam.datasets.description import DatasetInfo
from ultrasam.datasets.licenses import Tier, strictest, terms, terms_of

SHIP, RESEARCH, MEASURE = Tier.SHIP, Tier.RESEARCH, Tier.MEASURE
# Every license of the catalog as its source states it, and what a data set with it may be used for that needs
# neither a request nor a signed agreement.
EXPECTED = {
    "Apache 2.0": SHIP,
    "Apache-2.0": SHIP,
    "CC BY 4.0": SHIP,
    "CC BY 4.0 (not verified)": MEASURE,
    "CC BY 4.0 (provenance unknown)": MEASURE,
    "CC BY-NC 4.0": RESEARCH,
    "CC BY-NC-SA 4.0": RESEARCH,
    "CC BY-NC-SA 4.0 (conflict in record)": MEASURE,
    "CC BY-NC-SA 4.0 (not verified)": MEASURE,
    "GBCU license agreement": MEASURE,
    "Stanford research use agreement": MEASURE,
    "challenge; CC BY 4.0 (not verified)": MEASURE,
    "competition rules": MEASURE,
    "data use agreement": MEASURE,
    "data use agreement; CC BY 4.0 (not verified)": MEASURE,
    "not stated": MEASURE,
    "other": MEASURE,
    "research only": MEASURE,
    "signed agreement, no redistribution": MEASURE,
    "unknown": MEASURE,
}
# Licenses that others have, in the spellings that people use.
OTHERS = {
    "CC0": SHIP,
    "CC0 1.0": SHIP,
    "CC0-1.0": SHIP,
    "https://creativecommons.org/publicdomain/zero/1.0/": SHIP,
    "CC-BY-4.0": SHIP,
    "CC BY": SHIP,
    "CC BY v4.0": SHIP,
    "cc-by-4.0": SHIP,
    "Creative Commons Attribution 4.0 International": SHIP,
    "Creative Commons Attribution 4.0 International license.": SHIP,
    "https://creativecommons.org/licenses/by/4.0/": SHIP,
    "creativecommons.org/licenses/by/4.0/legalcode": SHIP,
    "CC BY-SA 4.0": SHIP,
    "Apache License 2.0": SHIP,
    "Apache License, Version 2.0": SHIP,
    "MIT": SHIP,
    "The MIT license": SHIP,
    "BSD-3-Clause": SHIP,
    "ODC-BY 1.0": SHIP,
    "PDDL": SHIP,
    "cc-by-nc-4.0": RESEARCH,
    "https://creativecommons.org/licenses/by-nc-sa/4.0/": RESEARCH,
    "Creative Commons Attribution-NonCommercial-ShareAlike 4.0 International": RESEARCH,
    "Creative Commons Attribution Non-Commercial": RESEARCH,
    "CC BY-ND 4.0": MEASURE,
    "CC BY-NC-ND 4.0": MEASURE,
    "https://creativecommons.org/licenses/by-nc-nd/4.0/": MEASURE,
    "Creative Commons": MEASURE,
    "CC BY 9.0": MEASURE,
    "CC BY 4.0 for the images": MEASURE,
    "not CC BY 4.0": MEASURE,
    "MIT (code)": MEASURE,
    "GPL-3.0": MEASURE,
    "see HF": MEASURE,
    "?": MEASURE,
    "": MEASURE,
    "none stated": MEASURE,
    "research use": MEASURE,
    "free for research": MEASURE,
}


def test_every_license_of_the_catalog_has_its_tier_in_the_table() -> None:
    """Where this fails: a license is new. Read it, and add what it allows to the table above."""
    assert {info.license for info in facts().values()} <= set(EXPECTED)


@pytest.mark.parametrize(("text", "tier"), [*EXPECTED.items(), *OTHERS.items()])
def test_a_license_has_its_tier(text: str, tier: Tier) -> None:
    assert terms(text).tier is tier
    assert terms(text, "open").tier is tier
    assert terms(text, "request").tier is MEASURE
    assert terms(text, "agreement").tier is MEASURE


@pytest.mark.parametrize("info", facts().values(), ids=facts())
def test_a_data_set_has_the_tier_of_its_license_unless_it_must_be_asked_for(
    info: DatasetInfo,
) -> None:
    asked = info.access in ("request", "agreement")
    assert terms_of(info).tier is (MEASURE if asked else EXPECTED[info.license])


def test_the_six_creative_commons_licenses_allow_what_their_elements_say() -> None:
    for elements in itertools.product(("", "-NC"), ("", "-SA", "-ND"), ("", " 3.0", " 4.0")):
        noncommercial, other, version = elements
        found = terms(f"CC BY{noncommercial}{other}{version}")
        if other == "-ND":
            assert found.tier is MEASURE
        else:
            assert found.tier is (RESEARCH if noncommercial else SHIP)
            assert found.share_alike is (other == "-SA")
            assert ("share-alike" in str(found)) is (other == "-SA")


def test_the_terms_of_a_site_are_told_beside_a_free_license() -> None:
    assert "terms of its site" in str(terms("CC BY 4.0", "kaggle"))
    assert "terms of its site" in str(terms("CC BY-NC 4.0", "registration"))
    assert "terms of its site" not in str(terms("CC BY 4.0", "open"))
    assert terms("CC BY 4.0", "kaggle").tier is SHIP


CLEAR = st.sampled_from([text for text, tier in (EXPECTED | OTHERS).items() if tier is not MEASURE])
ANY = st.sampled_from([*EXPECTED, *OTHERS])
DOUBT = st.text(st.characters(categories=["L", "N", "Zs"]), max_size=20)


@given(CLEAR, DOUBT)
def test_any_remark_beside_a_license_makes_a_data_set_one_that_is_only_measured_with(
    text: str, doubt: str
) -> None:
    assert terms(f"{text} ({doubt})").tier is MEASURE
    assert terms(f"not {text}").tier is MEASURE


@given(st.lists(ANY, min_size=1, max_size=4), st.sampled_from(["; ", ", ", " and ", " or ", " + "]))
def test_of_several_licenses_the_strictest_counts(texts: list[str], between: str) -> None:
    order = list(Tier)
    found = terms(between.join(texts))
    assert found.tier is max((terms(text).tier for text in texts), key=order.index)
    assert strictest(map(terms, texts)).tier is found.tier
    if found.tier is not MEASURE:
        assert found.share_alike is any(terms(text).share_alike for text in texts)


@given(CLEAR)
def test_case_and_hyphens_change_nothing(text: str) -> None:
    assert terms(text.upper()) == terms(text)
    assert terms(f"  {text}  ") == terms(text)
    if "/" not in text and "," not in text:
        assert terms(text.replace(" ", "-")) == terms(text)


@given(st.text(max_size=40))
def test_no_text_is_too_odd_to_be_read(text: str) -> None:
    assert str(terms(text))


def test_the_option_offers_the_tiers() -> None:
    assert [option.value for option in Option] == [tier.value for tier in Tier]
