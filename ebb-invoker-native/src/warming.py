"""What the base of Python is warmed with: the modules that actions import, and the paths that most of them take, so that a copy finds
them loaded. It starts no thread."""
import asyncio
import base64
import collections
import csv
import dataclasses
import datetime
import decimal
import email.message
import functools
import hashlib
import hmac
import html
import http.client
import http.server
import importlib
import inspect
import io
import itertools
import json
import logging
import math
import os
import pathlib
import re
import secrets
import socket
import ssl
import string
import subprocess
import tempfile
import time
import typing
import urllib.error
import urllib.parse
import urllib.request
import uuid
import xml.etree.ElementTree
import zlib

for optional in ("requests", "simplejson", "dateutil.parser", "httplib2", "bs4", "lxml.etree"):
    try:
        importlib.import_module(optional)
    except ImportError:
        pass


def main(args):
    if args.get("all"):
        text = json.dumps({"a": [1, 2.5, None, "ä"], "when": datetime.datetime.now().isoformat()})
        assert json.loads(text)["a"][0] == 1
        assert re.match(r"(\w+)-(\d+)", "a-1").group(2) == "1"
        assert len(hashlib.sha256(b"x").hexdigest()) == 64
        assert hmac.new(b"k", b"m", "sha256").digest()
        assert zlib.decompress(zlib.compress(b"z" * 1000)) == b"z" * 1000
        assert base64.b64decode(base64.b64encode(b"abc")) == b"abc"
        assert urllib.parse.urlparse("http://a/b?c=d").query == "c=d"
        assert uuid.uuid4() != uuid.uuid4()
        ssl.create_default_context()
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "f").write_text("t")
        assert asyncio.run(asyncio.sleep(0, "done")) == "done"
        logging.getLogger("warming").debug("nothing")
    print("hello", args.get("name"))
    return {"greeting": "hello " + str(args.get("name"))}
