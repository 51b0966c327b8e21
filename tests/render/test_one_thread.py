"""Drawing runs on one thread: a second one of BLAS would wait for a core that is busy, and the picture with it."""

import os
import subprocess
import sys

PROGRAM = """
import time
import numpy as np
from featscope.arrays.basis import basis_of
from featscope.render.heat import STYLES, HeatStyle, draw_heat
from featscope.render.mosaic import draw_mosaic
array = np.random.default_rng(0).random((256, 128, 124), np.float32)
image = np.zeros((128, 124, 3), np.uint8)
basis = basis_of(array[:, :4, :4])
def drawings():
    for how in ("mean", "absmean", "l2", "std"):
        draw_heat(array, HeatStyle(reduce=how))
    draw_heat(array, STYLES["featscope"], image=image)
    draw_heat(array, HeatStyle(reduce="pc1"), basis=basis)
    draw_mosaic(array[:16])
drawings()
shares = []
for _ in range(3):
    time.sleep(0.5)  # threads that were started wait, and rest; on a busy machine they may need another turn
    whole, own = time.process_time(), time.thread_time()
    for _ in range(5):
        drawings()
    shares.append((time.process_time() - whole) / (time.thread_time() - own))
print(min(shares))
"""


def test_no_drawing_uses_a_second_thread():
    environment = dict(os.environ, OPENBLAS_NUM_THREADS="2", OMP_NUM_THREADS="2", MKL_NUM_THREADS="2")
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1.05, "processor time of all threads, over that of the one that draws"
