"""Parts of scripts that interrupt a thread at any line, as a signal handler or a finalizer does."""

#: Interrupts a function before each line of the modules that the script names in FILES.
AT_LINE = '''
def at_line(number, act, operate, spare=()):
    """Run *operate*, and *act* before its line *number* in FILES; returns whether there was such a line."""
    lines = 0
    def local(frame, event, arg):
        nonlocal lines
        if event == "line":
            lines += 1
            if lines == number:
                act()
        return local
    def tracer(frame, event, arg):
        is_traced = frame.f_code.co_filename in FILES and frame.f_code.co_name not in spare
        return local if is_traced else None
    sys.settrace(tracer)
    try:
        operate()
    finally:
        sys.settrace(None)
    return lines >= number

def at_every_line(prepare):
    """Interrupt an operation at each of its lines; *prepare* returns the interruption, the operation and a check."""
    number, more = 0, True
    while more:
        number += 1
        act, operate, check = prepare()
        more = at_line(number, act, operate)
        check()
    return number - 1
'''

#: Makes `Bomb(ctx)`, which nobody holds, and which cancels when the collector comes to it.
BOMB = """
finalized = 0
class Bomb:
    def __init__(self, ctx):
        self.me, self.cancel = self, ctx.cancel
    def __del__(self):
        global finalized
        finalized += 1
        self.cancel()
"""

#: Runs `work(number)` on three threads while the collector comes often; prints how many bombs went off.
STORM = """
sys.setswitchinterval(1e-6)
threads = [threading.Thread(target=work, args=(first,), daemon=True) for first in range(3)]
failed = []
threading.excepthook = lambda args: (failed.append(args), sys.__excepthook__(*args[:3]))
sys.unraisablehook = lambda args: (failed.append(args), print(args))
gc.set_threshold(3, 2, 2)
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(50)
    assert not thread.is_alive()
assert not failed
print(finalized)
"""
