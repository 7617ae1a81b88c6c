"""Scripts in which the collector runs finalizers that cancel, in the middle of whatever threads do."""

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
