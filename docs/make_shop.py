"""Make the small shop in `shop/` that your-own-data.md loads: two departments, three tastes, people who buy and view.

python docs/make_shop.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

FOLDER = Path(__file__).parent / "shop"
TASTES = {
    "baking": ("kitchen", "Crumb & Co", ["Bread tin", "Rolling pin", "Cake ring", "Flour sieve", "Dough scraper"]),
    "coffee": ("kitchen", "Morning", ["Coffee mill", "Milk jug", "Espresso cup", "Moka pot", "Paper filters"]),
    "vegetables": ("garden", "Green Thumb", ["Seed tray", "Bean poles", "Tomato cage", "Watering can", "Hand fork"]),
    "flowers": ("garden", "Green Thumb", ["Rose shears", "Tulip bulbs", "Flower pot", "Plant mister", "Trellis"]),
}
FINISHES = ["steel", "wood", "enamel"]
N_CUSTOMERS, SEED, START = 60, 3, 1_700_000_000


def main() -> None:
    rng = np.random.default_rng(SEED)
    products = make_products(rng)
    customers = [f"c{n + 1:02}" for n in range(N_CUSTOMERS)]
    lands = rng.choice(["DE", "FR", "NO"], N_CUSTOMERS)
    FOLDER.mkdir(exist_ok=True)
    products.drop(columns="taste").to_csv(FOLDER / "products.csv", index=False)
    pd.DataFrame({"customer_id": customers, "country": lands}).to_csv(FOLDER / "customers.csv", index=False)
    for name, each in (("orders", 7), ("views", 9)):
        make_behaviors(rng, products, customers, each, name == "orders").to_csv(FOLDER / f"{name}.csv", index=False)


def make_products(rng: np.random.Generator) -> pd.DataFrame:
    rows = [
        (f"{noun}, {finish}", department, brand, f"{taste}|{finish}", taste)
        for taste, (department, brand, nouns) in TASTES.items()
        for noun in nouns
        for finish in FINISHES
    ]
    products = pd.DataFrame(rows, columns=["product_name", "department", "brand", "tags", "taste"])
    products.insert(0, "sku", [f"p{n + 1:02}" for n in range(len(products))])
    products["price"] = rng.integers(3, 60, len(products)) + 0.9
    return products


def make_behaviors(
    rng: np.random.Generator, products: pd.DataFrame, customers: list[str], each: int, bought: bool
) -> pd.DataFrame:
    frames = []
    for number, customer in enumerate(customers):
        liked = (products["taste"] == list(TASTES)[number % len(TASTES)]).to_numpy()
        weight = np.where(liked, 9.0, 1.0)
        chosen = rng.choice(products["sku"], each, replace=False, p=weight / weight.sum())
        times = START + np.sort(rng.integers(0, 90 * 86_400, each))
        frames.append(pd.DataFrame({"customer": customer, "sku": chosen, "at": pd.to_datetime(times, unit="s")}))
    frame = pd.concat(frames, ignore_index=True)
    return frame.assign(pieces=rng.integers(1, 4, len(frame))) if bought else frame


if __name__ == "__main__":
    main()
