"""A page in the browser that shows the maps of a run: `featscope view`, `featscope report`, and `run.view()`.

`answers.py` turns a request into bytes, without a socket. `server.py` serves these answers, `report.py` puts them into
one file. The page itself lies in `static/`.
"""
