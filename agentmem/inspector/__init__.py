"""A page to look at a memory: a local web server over one store, ``agentmem inspect``.

``views`` says what of a store the page shows, ``app`` answers requests with it, ``guard`` decides who may ask,
``server`` binds the socket, and ``static/`` is the page itself: plain HTML, CSS and JavaScript modules.  Needs
Starlette and uvicorn: ``pip install "agentmem[inspect]"``.
"""
