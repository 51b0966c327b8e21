"""How Chromium is started by the browser tests, the benchmarks and the screenshots."""

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--enable-unsafe-swiftshader"),
)
"""Without a graphics card, as root, and without asking its maker's hosts."""
