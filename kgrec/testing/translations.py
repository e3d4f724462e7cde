"""Ten sentences in English and in Chinese, to test encoders of several languages."""

from __future__ import annotations

from typing import Final

TRANSLATIONS: Final = (
    ("The cat sleeps on the sofa.", "猫在沙发上睡觉。"),
    ("A man is repairing an old bicycle.", "一个男人正在修理一辆旧自行车。"),
    ("It will rain tomorrow in the north.", "明天北方会下雨。"),
    ("She bought three red apples at the market.", "她在市场上买了三个红苹果。"),
    ("The train to Berlin leaves at seven.", "去柏林的火车七点出发。"),
    ("Headache and fever with a cough.", "头痛发热，伴有咳嗽。"),
    ("The children are playing football in the park.", "孩子们在公园里踢足球。"),
    ("This book explains the history of music.", "这本书讲述音乐的历史。"),
    ("Water boils at one hundred degrees.", "水在一百度沸腾。"),
    ("The company raised the prices of its phones.", "这家公司提高了手机的价格。"),
)
"""(English, Chinese) sentences."""
