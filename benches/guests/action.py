# One function in one process, for `dispatcher.js`: its code is in the file that the first argument names.
import json
import sys

function = {}
with open(sys.argv[1]) as code:
    exec(compile(code.read(), sys.argv[1], "exec"), function)
for line in sys.stdin:
    print(json.dumps(function["main"](json.loads(line)["value"]), separators=(",", ":")), flush=True)
