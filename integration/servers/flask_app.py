"""Flask's development server, threaded: POST /echo is answered with its own body. SIGINT ends it with status 0."""

from flask import Flask, request

app = Flask(__name__)


@app.post("/echo")
def echo():
    return request.get_data(), 200, {"Content-Type": "application/octet-stream"}


app.run("127.0.0.1", 0, threaded=True)
