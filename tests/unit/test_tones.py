"""The ears of the live tests: they tell tones apart, and are not deceived by silence, noise or mixtures."""

from __future__ import annotations

import math
import random
from array import array

import pytest

from tests.live.tones import RATE, tone

TONES = (500, 900, 1500, 2100)


def sine(*frequencies: float, level: float = 3000) -> array[int]:
    return array(
        "h",
        (
            int(sum(level * math.sin(2 * math.pi * frequency * n / RATE) for frequency in frequencies))
            for n in range(RATE)
        ),
    )


@pytest.mark.parametrize("frequency", TONES)
@pytest.mark.parametrize("level", [60, 3000, 15000])
def test_a_tone_is_known(frequency: int, level: float) -> None:
    assert tone(sine(frequency, level=level), TONES) == frequency


def test_other_sounds_are_none() -> None:
    noise = random.Random(1)
    assert tone(array("h"), TONES) is None
    assert tone(sine(500, level=1), TONES) is None
    assert tone(sine(700), TONES) is None
    assert tone(sine(500, 900, 1500), TONES) is None
    assert tone(array("h", (noise.randrange(-9000, 9000) for _ in range(RATE))), TONES) is None
