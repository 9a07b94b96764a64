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
import select
import shutil
import struct
import sys
import traceback
import types
import zipfile

INIT, RUN, RESET, THAW, REST, RUN_IN_PARTS, TAKEN, LEAVE = range(1, 9)
# Kinds of what goes before an answer in parts.
HEAD, PART = 103, 100
# Flags of an answer: the action may hold something that it drew; it has hooks.
DREW, HOOKS = 1 << 16, 1 << 17
HEADER = struct.Struct("<III")
LONGEST = 48 << 20
# Parts that are under way to a caller, bytes of one, and bytes that are collected for a caller that takes no parts.
WINDOW, LARGEST, COLLECTED = 4, 64 << 10, (1 << 20) + 1024

MODULE = "main__"
# What each run has, whether it is told again or not. Init tells it first.
OF_RUNS = {
    f"__OW_{name}"
    for name in ("NAMESPACE", "ACTION_NAME", "ACTION_VERSION", "ACTIVATION_ID", "TRANSACTION_ID", "DEADLINE")
}
NO_BINARY = "The action failed to generate or locate a binary. See logs for details."
NOT_STARTED = "Cannot start action. Check logs for details."
NO_DICTIONARY = "The action did not return a dictionary or array."
EXITED = "command exited"

OK = (200, {"ok": True})


def failure(status, text):
    return status, {"error": text}


class Action:
    """The function of an action, and its hooks."""

    def __init__(self, module, name):
        self.function = getattr(module, name)
        self.after_restore = hook(module, "after_restore", "afterRestore")
        self.before_capture = self.after_restore and hook(module, "before_capture", "beforeCapture")


def hook(module, *names):
    """A function of the action by the first of these names that it has, which is done when its coroutine is, if it has one."""
    found = next((each for each in (getattr(module, name, None) for name in names) if callable(each)), None)
    if found is None:
        return None

    def call():
        awaited = found()
        if hasattr(awaited, "__await__"):
            import asyncio

            async def wait():
                await awaited

            asyncio.run(wait())

    return call


class Runtime:
    def __init__(self):
        self.action = None
        self.broken = None
        self.folders = 0
        self.pid = os.getpid()
        self.drawn = random.getstate()
        self.environment = dict(os.environ)
        # The variables that runs have set.
        self.given = {}
        self.directory = os.getcwd()
        # Not what an action may say by its environment.
        self.temporary = os.environ.get("TMPDIR") or "/tmp"
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
                if name in OF_RUNS:
                    self.given[name] = os.environ[name]
        name = value.get("main") or "main"
        try:
            module = self.load(value["code"], value.get("binary") is True)
            if module is None:
                return failure(502, NO_BINARY)
            self.action = Action(module, name)
        except AttributeError as error:
            if not str(error).endswith(f"has no attribute {name!r}"):
                print_of_action(error)
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
        """The module of an action, or None when there is none, or one that Python cannot read: OpenWhisk's runtime looks at that when it
        "compiles" (bin/compile)."""
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
        with open(source, "rb") as file:
            text = file.read()
        try:
            compiled = compile(text, source, "exec")
        except Exception as error:
            print_of_action(error)
            return None
        virtualenv = os.path.join(folder, "virtualenv")
        if os.path.isdir(virtualenv):
            scripts = [os.path.join(virtualenv, of, "activate_this.py") for of in ("bin", "Scripts")]
            activate = next(filter(os.path.exists, scripts), None)
            if activate is None:
                print("Invalid virtualenv. Zip file does not include 'activate_this.py'.", file=sys.stderr)
                return None
            runpy.run_path(activate)
        module = types.ModuleType(MODULE)
        module.__file__ = source
        sys.modules[MODULE] = module
        exec(compiled, module.__dict__)
        return module

    def unpack(self, content):
        """The source among what was uploaded: a ZIP, a gzipped tar, or the source itself, by what it begins with (extractor.go)."""
        folder = self.folder()
        try:
            if content.startswith(b"PK\x03\x04"):
                with zipfile.ZipFile(io.BytesIO(content)) as archive:
                    archive.extractall(folder)
            elif content.startswith(b"\x1f\x8b\x08"):
                import tarfile

                # Python before 3.12 has the filter where it was brought up to date.
                checked = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
                with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
                    archive.extractall(folder, **checked)
            else:
                with open(os.path.join(folder, "exec"), "wb") as file:
                    file.write(content)
        except Exception as error:
            print(f"The archive cannot be unpacked: {error}", file=sys.stderr)
            return None
        for name in ("__main__.py", "exec"):
            found = os.path.join(folder, name)
            if os.path.isfile(found):
                return found
        print("Zip file does not include '__main__.py'.", file=sys.stderr)
        return None

    def folder(self):
        self.folders += 1
        path = os.path.join(self.temporary, f"action-{os.getpid()}-{self.folders}")
        os.mkdir(path, 0o700)
        return path

    def run(self, body, caller=None):
        if self.broken is not None:
            return failure(502, f"An error has occurred in after_restore: {self.broken}")
        if self.action is None:
            return failure(500, "no action defined yet")
        for name, value in body.items():
            if name != "value" and isinstance(value, str):
                self.given["__OW_" + name.upper()] = value
        # A run may leave out what init or an earlier one has said of the action. To set a variable takes longer than to look at it.
        for name, value in self.given.items():
            if os.environ.get(name) != value:
                os.environ[name] = value
        arguments = body.get("value")
        try:
            result = self.action.function({} if arguments is None else arguments)
            stream = streamed(result)
            if stream is not None:
                result = caller.send(*stream) if caller else collected(*stream)
        except Exception as error:
            print_of_action(error)
            return 200, {"error": str(error)}
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
        self.given = {}
        os.chdir(self.directory)
        for name in os.listdir(self.temporary):
            if name.startswith(f"action-{os.getpid()}-"):
                shutil.rmtree(os.path.join(self.temporary, name), ignore_errors=True)
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
        is_run = kind in (RUN, RUN_IN_PARTS)
        if is_run or random.getstate() != self.drawn:
            flags |= DREW
        self.drawn = random.getstate() if not is_run else self.drawn
        return flags


def is_stream(value):
    return hasattr(value, "__next__") and hasattr(value, "__iter__")


def streamed(result):
    """What is said of a stream in a result, and the stream; None if it has none. A generator or another iterator is one, as the result
    or as its member `body`."""
    if is_stream(result):
        return {}, result
    if isinstance(result, dict) and is_stream(result.get("body")):
        return {name: value for name, value in result.items() if name != "body"}, result["body"]
    return None


def is_of_events(head):
    headers = head.get("headers")
    kinds = [v for n, v in headers.items() if str(n).lower() == "content-type"] if isinstance(headers, dict) else []
    return any(str(kind).split(";")[0].strip().lower() == "text/event-stream" for kind in kinds)


def event(part):
    """A server-sent event. Source: the HTML Standard, section 9.2."""
    lines = [f"{name}: {' '.join(str(part[name]).splitlines())}" for name in ("event", "id", "retry") if name in part]
    data = part.get("data", "")
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    lines += [f"data: {line}" for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    return "\n".join(lines) + "\n\n"


def bytes_of(part, as_events):
    """Text as UTF-8, bytes as they are, anything else as an event or as a line of JSON."""
    if isinstance(part, (bytes, bytearray, memoryview)):
        return bytes(part)
    if not isinstance(part, str):
        is_event = as_events and isinstance(part, dict)
        part = event(part) if is_event else json.dumps(part, ensure_ascii=False) + "\n"
    return part.encode("utf-8", "surrogatepass")


def collected(head, body):
    """The result with the whole stream as its body, for a caller that takes no parts."""
    as_events, parts, size, is_text = is_of_events(head), [], 0, True
    for part in body:
        is_text = is_text and not isinstance(part, (bytes, bytearray, memoryview))
        parts.append(bytes_of(part, as_events))
        size += len(parts[-1])
        if size > COLLECTED:
            break
    whole = b"".join(parts)
    return {**head, "body": whole.decode("utf-8", "replace") if is_text else base64.b64encode(whole).decode()}


class Caller:
    """One that takes a result in parts. No more than WINDOW of them are sent ahead of it; a generator whose caller has gone is closed."""

    def __init__(self, fd, number):
        self.fd, self.number, self.under_way, self.left = fd, number, 0, False

    def frame(self, kind, payload):
        write_all(self.fd, HEADER.pack(len(payload), self.number, kind) + payload)

    def hear(self):
        length, _, kind = HEADER.unpack(read_exactly(self.fd, HEADER.size))
        read_exactly(self.fd, length)
        self.left = self.left or kind == LEAVE
        self.under_way -= kind == TAKEN

    def hears(self):
        return bool(select.select([self.fd], [], [], 0)[0])

    def send(self, head, body):
        as_events = is_of_events(head)
        self.frame(HEAD, json.dumps(head, ensure_ascii=False).encode())
        for part in body:
            data = bytes_of(part, as_events)
            for at in range(0, len(data), LARGEST):
                while not self.left and (self.under_way >= WINDOW or self.hears()):
                    self.hear()
                if self.left:
                    break
                self.frame(PART, data[at : at + LARGEST])
                self.under_way += 1
            if self.left:
                break
        if self.left and hasattr(body, "close"):
            body.close()
        return {}


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


def write_all(fd, data):
    written = 0
    while written < len(data):
        written += os.write(fd, data[written:] if written else data)


def flush(stream):
    try:
        stream.flush()
    except (AttributeError, OSError, ValueError):
        # The action has closed it, or has put something else in its place.
        pass


def leave(fd):
    """In a process that an action has forked: its requests and answers are its parent's. What it would read has ended, and what it would
    answer goes nowhere, also if the action forgets to end it."""
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, fd, inheritable=False)
    os.close(nothing)


def encoded(status, result):
    """Status and text of an answer. What Python cannot write ends OpenWhisk's launcher, which its proxy tells; what the proxy cannot
    read as an object or an array is refused, but for `null`, which Go takes for a map (runHandler.go)."""
    try:
        text = json.dumps(result, ensure_ascii=False).encode()
    except Exception as error:
        print_of_action(error)
        status, result = failure(400, EXITED)
        return status, json.dumps(result).encode()
    if text == b"null":
        return status, b"null\n"
    if not text.startswith((b"{", b"[")) or not is_strict(result, text):
        status, result = failure(502, NO_DICTIONARY)
        return status, json.dumps(result).encode()
    return status, text


def is_strict(result, text):
    """Whether this is JSON for others than Python as well: it has no numbers that are none."""
    if b"NaN" not in text and b"Infinity" not in text:
        return True
    try:
        json.dumps(result, allow_nan=False)
    except ValueError:
        return False
    return True


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
        if kind in (TAKEN, LEAVE):
            # Of parts that had been sent before the answer was.
            continue
        if kind == RESET:
            status, result = runtime.reset()
        elif kind == REST:
            status, result = runtime.rest()
        else:
            try:
                body = json.loads(payload or b"{}")
                if not isinstance(body, dict) or kind not in (INIT, RUN, RUN_IN_PARTS):
                    raise ValueError
            except ValueError:
                status, result = failure(500, "Bad request.")
            else:
                caller = Caller(fd, number) if kind == RUN_IN_PARTS else None
                status, result = runtime.init(body) if kind == INIT else runtime.run(body, caller)
        status, text = encoded(status, result)
        # What was logged is out before the answer is.
        flush(sys.stdout)
        flush(sys.stderr)
        write_all(fd, HEADER.pack(len(text), number, status | runtime.take_flags(kind)) + text)


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] != "--fd" or not sys.argv[2].isdigit():
        print("usage: loader.py --fd N", file=sys.stderr)
        sys.exit(2)
    channel = int(sys.argv[2])
    sys.argv = [""]
    sys.path.pop(0)
    # So that the lines of both streams come in the order in which they were written.
    sys.stdout.reconfigure(line_buffering=True)
    os.register_at_fork(after_in_child=lambda: leave(channel))
    try:
        serve(channel)
    except SystemExit:
        raise
    except BaseException as error:
        print_of_action(error)
        sys.exit(1)
