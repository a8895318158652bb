"""The HTTP server: ladders behind OpenAI's and Anthropic's APIs. Needs the extra `server`.

Start it with `cascade serve`, or put `app.make_app` behind an ASGI server of your own.
"""
