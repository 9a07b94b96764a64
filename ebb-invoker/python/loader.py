"""What Python runs inside an instance: loads one action and runs it as often as it is told to.

    python3 -B loader.py --fd 3

Requests and answers are the frames of ../loader/channel.js over one inherited stream. What an action may expect is the contract of
OpenWhisk's Python runtimes (apache/openwhisk-runtime-python at 9a873ec, core/python3Action/lib/launcher.py; read, not copied).
Needs Python 3.9 and nothing else.

Between requests nothing is pending: no thread, no timer, one read of the stream. So an instance can be captured there, and continued as
any number of copies; a copy is told so (THAW), and begins afresh whatever draws random numbers without asking the machine each time.
"""

import base64
import gc
import io
import json
import os
import random
import runpy
import shutil
import struct
import sys
import traceback
import types
import zipfile

INIT, RUN, RESET, THAW, REST = 1, 2, 3, 4, 5
# Flags of an answer: the action may hold something that it drew; it has hooks.
DREW, HOOKS = 1 << 16, 1 << 17
HEADER = struct.Struct("<III")
LONGEST = 48 << 20

MODULE = "main__"
NO_BINARY = "The action failed to generate or locate a binary. See logs for details."
NOT_STARTED = "Cannot start action. Check logs for details."
NO_DICTIONARY = "The action did not return a dictionary or array."

OK = (200, {"ok": True})


def failure(status, text):
    return status, {"error": text}


class Action:
    """The function of an action, and its hooks."""

    def __init__(self, module, name):
        self.function = getattr(module, name)
        after = getattr(module, "after_restore", None)
        self.after_restore = after if callable(after) else None
        before = getattr(module, "before_capture", None)
        self.before_capture = before if self.after_restore and callable(before) else None


class Runtime:
    def __init__(self):
        self.action = None
        self.broken = None
        self.folders = 0
        self.pid = os.getpid()
        self.drawn = random.getstate()
        self.environment = dict(os.environ)
        self.directory = os.getcwd()
        self.path = list(sys.path)
        self.modules = None

    # Requests.

    def init(self, body):
        if self.action is not None:
            return failure(403, "Cannot initialize the action more than once.")
        value = body.get("value") if isinstance(body, dict) else None
        if not isinstance(value, dict) or not isinstance(value.get("code"), str) or not value["code"]:
            return failure(403, "Missing main/no code to execute.")
        environment = value.get("env")
        if isinstance(environment, dict):
            for name, text in environment.items():
                os.environ[name] = text if isinstance(text, str) else json.dumps(text)
        name = value.get("main") or "main"
        try:
            module = self.load(value["code"], value.get("binary") is True)
            if module is None:
                return failure(502, NO_BINARY)
            self.action = Action(module, name)
        except AttributeError as error:
            if not str(error).endswith(f"has no attribute {name!r}"):
                traceback.print_exc()
            else:
                print(f"The action has no function {name}.", file=sys.stderr)
            return failure(502, NOT_STARTED)
        except SystemExit:
            raise
        except BaseException as error:
            print_of_action(error)
            return failure(502, NOT_STARTED)
        return OK

    def load(self, code, is_archive):
        """The module of an action, or None when an archive has none."""
        if is_archive:
            source = self.unpack(base64.b64decode(code))
            if source is None:
                return None
        else:
            source = os.path.join(self.folder(), f"{MODULE}.py")
            with open(source, "w", encoding="utf-8") as file:
                file.write(code)
        folder = os.path.dirname(source)
        os.chdir(folder)
        sys.path.insert(0, folder)
        activate = os.path.join(folder, "virtualenv", "bin", "activate_this.py")
        if os.path.exists(activate):
            runpy.run_path(activate)
        elif os.path.isdir(os.path.join(folder, "virtualenv")):
            print("Invalid virtualenv. Zip file does not include 'activate_this.py'.", file=sys.stderr)
        module = types.ModuleType(MODULE)
        module.__file__ = source
        sys.modules[MODULE] = module
        with open(source, "rb") as file:
            exec(compile(file.read(), source, "exec"), module.__dict__)
        return module

    def unpack(self, content):
        folder = self.folder()
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                archive.extractall(folder)
        except zipfile.BadZipFile as error:
            print(f"The code is no ZIP archive: {error}.", file=sys.stderr)
            return None
        for name in ("__main__.py", "exec"):
            found = os.path.join(folder, name)
            if os.path.isfile(found):
                return found
        print("Zip file does not include '__main__.py'.", file=sys.stderr)
        return None

    def folder(self):
        self.folders += 1
        path = f"/tmp/action-{os.getpid()}-{self.folders}"
        os.mkdir(path, 0o700)
        return path

    def run(self, body):
        if self.broken is not None:
            return failure(502, f"An error has occurred in after_restore: {self.broken}")
        if self.action is None:
            return failure(500, "no action defined yet")
        for name, value in body.items():
            if name != "value" and isinstance(value, str):
                os.environ["__OW_" + name.upper()] = value
        arguments = body.get("value")
        try:
            result = self.action.function({} if arguments is None else arguments)
        except Exception as error:
            print_of_action(error)
            return 200, {"error": str(error)}
        if not isinstance(result, (dict, list)):
            return failure(502, NO_DICTIONARY)
        return 200, result

    def rest(self):
        try:
            if self.action and self.action.before_capture:
                self.action.before_capture()
        except Exception as error:
            print_of_action(error)
            return failure(502, f"before_capture has failed due to: {error}")
        return OK

    def thaw(self, payload):
        """Goes on as a copy of a snapshot with 16 bytes of entropy."""
        random.seed(payload[:16])
        self.drawn = random.getstate()
        # It was drawn when the module was imported, and lets processes of one program talk to each other.
        if "multiprocessing" in sys.modules:
            sys.modules["multiprocessing"].current_process().authkey = os.urandom(32)
        if self.action and self.action.after_restore:
            try:
                self.action.after_restore()
            except Exception as error:
                # What would be shared must not be used.
                print_of_action(error)
                self.broken = error

    def reset(self):
        """As after the start, but for what is loaded: what a warmed instance does before its snapshot."""
        self.action = self.broken = None
        os.chdir(self.directory)
        for name in os.listdir("/tmp"):
            if name.startswith(f"action-{os.getpid()}-"):
                shutil.rmtree(os.path.join("/tmp", name), ignore_errors=True)
        for name in set(os.environ) - set(self.environment):
            del os.environ[name]
        os.environ.update(self.environment)
        sys.path[:] = self.path
        sys.modules.pop(MODULE, None)
        sys.path_importer_cache.clear()
        random.seed(os.urandom(16))
        self.drawn = random.getstate()
        gc.collect()
        # What is there now stays: a collection in a copy need not write to it.
        gc.freeze()
        return OK

    def take_flags(self, kind):
        """What is to be noted of the action, with an answer."""
        flags = HOOKS if self.action and self.action.after_restore else 0
        # What a call draws from `random` is not followed: any call may have.
        if kind == RUN or random.getstate() != self.drawn:
            flags |= DREW
        self.drawn = random.getstate() if kind != RUN else self.drawn
        return flags


def print_of_action(error):
    """The traceback, without the loader's frames."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    traceback.print_exception(type(error), error, trace)


def read_exactly(fd, length):
    parts = []
    while length > 0:
        part = os.read(fd, min(length, 1 << 20))
        if not part:
            sys.exit(0)
        parts.append(part)
        length -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def encoded(status, result):
    try:
        return status, json.dumps(result, ensure_ascii=False).encode("utf-8", "surrogatepass")
    except Exception as error:
        print_of_action(error)
        return 200, json.dumps({"error": str(error)}).encode()


def serve(fd):
    runtime = Runtime()
    while True:
        length, number, kind = HEADER.unpack(read_exactly(fd, HEADER.size))
        if length > LONGEST:
            print(f"loader: a frame of {length} bytes; the limit is {LONGEST}", file=sys.stderr)
            sys.exit(1)
        payload = read_exactly(fd, length) if length else b""
        if kind == THAW:
            runtime.thaw(payload)
            continue
        if kind == RESET:
            status, result = runtime.reset()
        elif kind == REST:
            status, result = runtime.rest()
        else:
            try:
                body = json.loads(payload or b"{}")
                if not isinstance(body, dict) or kind not in (INIT, RUN):
                    raise ValueError
            except ValueError:
                status, result = failure(500, "Bad request.")
            else:
                status, result = runtime.init(body) if kind == INIT else runtime.run(body)
        status, text = encoded(status, result)
        # What was logged is out before the answer is.
        sys.stdout.flush()
        sys.stderr.flush()
        answer = HEADER.pack(len(text), number, status | runtime.take_flags(kind)) + text
        written = 0
        while written < len(answer):
            written += os.write(fd, answer[written:] if written else answer)


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] != "--fd" or not sys.argv[2].isdigit():
        print("usage: loader.py --fd N", file=sys.stderr)
        sys.exit(2)
    channel = int(sys.argv[2])
    sys.argv = [""]
    sys.path.pop(0)
    # So that the lines of both streams come in the order in which they were written.
    sys.stdout.reconfigure(line_buffering=True)
    serve(channel)
