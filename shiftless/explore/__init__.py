"""The explorer: a local web app to match points, look at features and label parts of photos (`shiftless explore`).

Pure functions and a model's worker in most files; `app.py` and `serve.py` alone know the web.
"""
