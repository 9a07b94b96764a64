"""What gdb shows of an ebb image: cores, tasks, representatives.

    ebb-start          runs to the program's first event
    ebb-cores          the cores, and what the event loop of each does
    ebb-tasks [CORE]   the live tasks, with where they were spawned
    ebb-ebbs           the representatives of well-known Ebbs on each core

`cargo ebb debug` loads this file. It needs the types of ebb-runtime and native-target (`debug = "full"`), and reads memory
only: it works on a machine that stands still and on a core file alike. A core may stand amid a change: what it has just freed is
told as that, and a list ends there. What must hold: names of fields are those of
ebb-runtime/src/event and native-target/src/cpu.rs; tests/native/debug.rs fails when one has changed.
"""

import struct

import gdb

TASK = "ebb_runtime::event::task::Header"
CORE = "ebb_runtime::event::run_loop::Core"
MACHINE = "ebb_runtime::machine::Machine"
BLOCK = "native_target::cpu::CpuBlock"


def read(address, size=8):
    """A number in memory."""
    return int.from_bytes(bytes(gdb.selected_inferior().read_memory(int(address), size)), "little")


def number(value):
    """The number in a cell, an atomic, or whatever else is nothing but it."""
    return read(value.address, value.type.sizeof)


def at(address, name):
    """The value of a type at an address."""
    return gdb.Value(int(address)).cast(gdb.lookup_type(name).pointer()).dereference()


def location(address):
    """`FILE:LINE` of a `&Location`: pointer and length of the file's name, line, column. Its type is not among the symbols: the
    standard library comes without."""
    start, length, line = read(address), read(address + 8), read(address + 16, 4)
    text = bytes(gdb.selected_inferior().read_memory(start, length)).decode("utf-8", "replace")
    # Some releases of Rust count the zero behind the text.
    return "%s:%d" % (text.rstrip("\0"), line)


def machine():
    """The machine; None before it is made."""
    symbol = gdb.lookup_static_symbol("native_target::inspect::MACHINE")
    place = symbol.value() if symbol else gdb.parse_and_eval("native_target::inspect::MACHINE")
    # The status of a `Once` that is done is 2; the rest of it is the reference.
    try:
        address = number(place["data"])
    except gdb.MemoryError:
        return None
    return at(address, MACHINE) if address else None


def cores():
    """The cores, by number."""
    there = machine()
    if there is None:
        raise gdb.GdbError("the image has not come so far: it has no cores yet (ebb-start)")
    vector = read(there["cores"].address)
    if not vector:
        return []
    vector = at(vector, "alloc::vec::Vec<&ebb_runtime::event::run_loop::Core, alloc::alloc::Global>")
    first = read(vector["buf"]["inner"]["ptr"].address)
    return [at(read(first + 8 * n), CORE) for n in range(int(vector["len"]))]


def walk(head, following):
    """Tasks of a list, by their addresses; a list that is damaged ends."""
    seen = set()
    task = head
    while task and task not in seen:
        seen.add(task)
        try:
            after = following(at(task, TASK))
        except gdb.MemoryError:
            return
        yield at(task, TASK)
        task = after


def live_tasks(core):
    head = number(core["home"]["live"]["head"])
    return list(walk(head, lambda task: read(task["live"].address)))


def queued_tasks(core):
    head = number(core["home"]["queue"]["head"])
    return list(walk(head, lambda task: number(task["next"])))


STATES = ("alive", "running", "cancelled", "ending", "done")


def state(task):
    value = number(task["state"])
    name = STATES[value] if value < len(STATES) else "?"
    return name + (", queued" if number(task["queued"]) else "")


def describe(task):
    try:
        site = location(number(task["site"]))
    except gdb.MemoryError:
        return "task %#x, which has just ended" % int(task.address)
    return "task %#x: %s, spawned at %s" % (int(task.address), state(task), site)


class Cores(gdb.Command):
    """The cores, and what the event loop of each does."""

    def __init__(self):
        super().__init__("ebb-cores", gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        for core in cores():
            home = core["home"]
            counters = home["counters"]
            count = lambda name: number(counters[name])
            running = number(home["running"])
            what = "runs " + describe(at(running, TASK)) if running else "runs no event"
            print("core %d: %s" % (number(core["seat"]["core"]), what))
            print("  %d live tasks, %d queued; %d events, %d timers, %d arrivals, slept %d times" % (
                len(live_tasks(core)), len(queued_tasks(core)),
                count("events"), count("timers"), count("arrivals"), count("parks")))


class Tasks(gdb.Command):
    """The live tasks of all cores, or of one: ebb-tasks [CORE]."""

    def __init__(self):
        super().__init__("ebb-tasks", gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        for n, core in enumerate(cores()):
            if argument.strip() in ("", str(n)):
                for task in live_tasks(core):
                    print("core %d: %s" % (n, describe(task)))


def slots():
    """Each Ebb's slot: its name, and where it is in a core's thread-local block, from the block's end."""
    with open(gdb.current_progspace().filename, "rb") as file:
        image = file.read()
    (headers, sections) = struct.unpack_from("<QQ", image, 32)
    (header_size, header_count, section_size, section_count) = struct.unpack_from("<HHHH", image, 54)
    end = None
    for n in range(header_count):
        kind, _, _, address, _, _, size, align = struct.unpack_from("<IIQQQQQQ", image, headers + n * header_size)
        if kind == 7:  # PT_TLS
            align = max(align, 1)
            end = (size + align - 1) // align * align
    for n in range(section_count):
        _, kind, _, _, offset, size, link, _, _, entry = struct.unpack_from("<IIQQQQIIQQ", image, sections + n * section_size)
        if kind != 2 or end is None:  # SHT_SYMTAB
            continue
        names = struct.unpack_from("<Q", image, sections + link * section_size + 24)[0]
        for symbol in range(offset, offset + size, entry):
            name, info, _, _, value, _ = struct.unpack_from("<IBBHQQ", image, symbol)
            text = image[names + name:image.index(b"\0", names + name)].decode("utf-8", "replace")
            if text.startswith("__ebb_slot_") and info & 15 in (1, 6):
                # Without the prefix and the hash behind the name.
                yield text[len("__ebb_slot_"):].rsplit("_", 1)[0], value - end


class Ebbs(gdb.Command):
    """The representatives of well-known Ebbs on each core."""

    def __init__(self):
        super().__init__("ebb-ebbs", gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        known = sorted(slots())
        for n, core in enumerate(cores()):
            base = number(at(number(core["home"]["token"]), BLOCK)["tls"])
            for name, offset in known:
                representative = read(base + offset)
                if representative:
                    print("core %d: %s at %#x" % (n, name, representative))


class Start(gdb.Command):
    """Runs to the program's first event."""

    def __init__(self):
        super().__init__("ebb-start", gdb.COMMAND_RUNNING)

    def invoke(self, argument, from_tty):
        gdb.execute("tbreak __ebb_main")
        gdb.execute("continue")


class TaskPrinter:
    """A task: what it does, and where it was spawned."""

    def __init__(self, value):
        self.value = value

    def to_string(self):
        return describe(self.value)


class CoreIdPrinter:
    """The number of a core."""

    def __init__(self, value):
        self.value = value

    def to_string(self):
        return "core %d" % number(self.value)


class TaskPtrPrinter:
    """A pointer to a task."""

    def __init__(self, value):
        self.value = value

    def to_string(self):
        return describe(at(number(self.value), TASK))


class EbbRefPrinter:
    """A reference to an Ebb: its type; which representative it means depends on the core."""

    def __init__(self, value):
        self.value = value

    def to_string(self):
        return self.value.type.strip_typedefs().name


def printers():
    import gdb.printing

    found = gdb.printing.RegexpCollectionPrettyPrinter("ebb")
    found.add_printer("Task", "^ebb_runtime::event::task::Header$", TaskPrinter)
    found.add_printer("TaskPtr", "^ebb_runtime::event::task::TaskPtr$", TaskPtrPrinter)
    found.add_printer("CoreId", "^ebb_runtime::per_core::CoreId$", CoreIdPrinter)
    found.add_printer("EbbRef", "^ebb_runtime::model::reference::EbbRef<.*>$", EbbRefPrinter)
    return found


gdb.printing.register_pretty_printer(None, printers(), replace=True)
for command in (Cores, Tasks, Ebbs, Start):
    command()
