import os, socket, subprocess, sys, threading, time, signal, multiprocessing
print(subprocess.run(["/bin/busybox", "echo", "from a child"], capture_output=True, text=True).stdout.strip())
p = subprocess.Popen(["/bin/busybox", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
print(p.communicate(b"through a pipe")[0].decode(), p.returncode)
print(subprocess.run("exit 7", shell=True).returncode)
try: subprocess.run(["/no/such"])
except FileNotFoundError as e: print("not found", e.errno)
server = socket.create_server(("127.0.0.1", 0))
def serve():
    for _ in range(8):
        c, _ = server.accept()
        with c: c.sendall(c.recv(100).upper())
threading.Thread(target=serve, daemon=True).start()
answers = []
def ask(n):
    with socket.create_connection(server.getsockname()) as c:
        c.sendall(b"number %d" % n); answers.append(c.recv(100).decode())
ts = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
[t.start() for t in ts]; [t.join() for t in ts]
print(sorted(answers))
def work(q): q.put(os.getpid() != 1)
if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    q = multiprocessing.Queue(); w = multiprocessing.Process(target=work, args=(q,)); w.start(); print("queue", q.get()); w.join(); print("joined", w.exitcode)
    signal.signal(signal.SIGALRM, lambda *a: print("alarm")); signal.setitimer(signal.ITIMER_REAL, 0.02); time.sleep(0.1)
    r = os.fork()
    if r == 0: os._exit(5)
    print("fork", os.waitstatus_to_exitcode(os.waitpid(r, 0)[1]))
    with multiprocessing.Pool(2) as pool: print(pool.map(abs, [-1, -2, 3]))
assert socket.gethostbyname(socket.gethostname()).startswith("127.")
print("all of python is well")
