"""Run a function in a business's own browser: `python examples/quickstart.py`."""

import raypool


async def title_of(page, url):
    """Return what the page calls itself; runs inside the business's actor."""
    await page.goto(url)
    return await page.title()


if __name__ == "__main__":
    with raypool.connect() as pool:
        for outcome in pool.map(
            title_of, ["bakery", "florist"], "data:text/html,<title>hello</title>"
        ):
            print(outcome.business_id, outcome.ok, outcome.value or outcome.error)
        for business in ("bakery", "florist"):
            pool.remove_instance(f"business:{business}")
