# Kind python:default.
import platform


def main(args):
    return {"hello": args.get("name", "world"), "from": "Python " + platform.python_version()}
