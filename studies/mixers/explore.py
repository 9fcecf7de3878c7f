import sys, time, os, csv, json, math
sys.path.insert(0, ".")
os.environ["OMP_NUM_THREADS"]="1"
import torch, fcntl
from torch import nn
torch.set_num_threads(1)
from studies.mixers.frame import *; from studies.mixers.data import *; from studies.mixers.variants import Trial, Dual; from studies.mixers.peers.convolution import GatedConv; from studies.mixers.peers import PEERS
from dsmixer.layers.mixer import SpectrumMixer
def parse(name):
    if name == "gated7mixed":
        class G2(nn.Module):
            def __init__(self, d, k):
                super().__init__(); self.in_proj = nn.Linear(d, 2*d); self.conv = nn.Conv2d(2*d, 2*d, k, padding=k//2, groups=2*d)
                self.out_proj = nn.Linear(d, d); self.norm = nn.LayerNorm(d, eps=1e-6)
            def forward(self, x):
                x = self.in_proj(x); y = self.conv(x.permute(0,3,1,2)).permute(0,2,3,1)
                v = y.chunk(2, -1)[0]; z = y.chunk(2, -1)[1] + x.chunk(2, -1)[1]
                return self.out_proj(self.norm(v) * nn.functional.silu(z))
        return Mixer(lambda d, s, i: G2(d, 7))
    if name == "gated7norm":
        class G(GatedConv):
            def __init__(self, d, k):
                super().__init__(d, k); self.norm = nn.LayerNorm(d, eps=1e-6)
            def forward(self, x):
                g, v = self.in_proj(x).chunk(2, -1)
                return self.out_proj(self.norm(self.conv(v)) * nn.functional.silu(g))
        return Mixer(lambda d, s, i: G(d, 7))
    if name in PEERS: return PEERS[name]
    if name == "gated7": return Mixer(lambda d, s, i: GatedConv(d, 7))
    if name == "gated3": return Mixer(lambda d, s, i: GatedConv(d, 3))
    if name == "dsm0": return Mixer(lambda d, s, i: SpectrumMixer(d))
    kw = {}
    for part in name.split(",")[1:]:
        k, v = part.split("=")
        try: v = json.loads(v)
        except ValueError: pass
        kw[k] = v
    cls = Dual if name.startswith('dual') else Trial
    return Mixer(lambda d, s, i: cls(d, **kw))
SHAPE = Shape(widths=(32, 64, 128), depths=(2, 2, 2), mlp_ratio=2.0)
BUDGET = 480_000
def run(name, seed, images=12800, epochs=5, bs=128, dataset="cifar10"):
    torch.manual_seed(seed)
    shape = SHAPE if dataset == "cifar10" else SHAPE._replace(side=64, stem_stride=4)
    m = build(parse(name), shape, CLASSES[dataset], BUDGET)
    train = Images(dataset, "train", "cpu", images); test = Images(dataset, "test", "cpu")
    decay = [p for p in m.parameters() if p.ndim > 1]; other = [p for p in m.parameters() if p.ndim <= 1]
    opt = torch.optim.AdamW([{"params": decay}, {"params": other, "weight_decay": 0}], 2e-3, weight_decay=.05, fused=True)
    steps = epochs * (images // bs); k = 0; busy = 0; curve = []
    for e in range(epochs):
        m.train(); tot = 0; t = time.time()
        for x, y in train.epoch(bs, seed, e):
            lr = 2e-3 * min((k + 1) / (0.1 * steps), 1) * (0.5 * (1 + math.cos(math.pi * max(0, (k - .1*steps) / (.9*steps)))) if k > .1 * steps else 1)
            for g in opt.param_groups: g["lr"] = lr
            loss = nn.functional.cross_entropy(m(x), y, label_smoothing=.1); loss.backward()
            nn.utils.clip_grad_norm_(m.parameters(), 1.0); opt.step(); opt.zero_grad(); k += 1; tot += loss.detach()
        busy += time.time() - t
        curve.append(round(float(tot) / (images // bs), 3))
    m.eval(); good = nll = 0
    with torch.no_grad():
        for x, y in test.in_order(250):
            o = m(x); good += (o.argmax(1) == y).sum().item(); nll += nn.functional.cross_entropy(o, y, reduction="sum").item()
    row = [name, dataset, seed, num_params(m), f"{100*good/len(test):.2f}", f"{nll/len(test):.4f}", curve[-1], f"{epochs*images/busy:.0f}", curve]
    print(*row, flush=True)
    with open("exploration.csv", "a") as f: csv.writer(f).writerow(row)
if __name__ == "__main__":
    import fcntl
    # take jobs from queue file
    for _ in range(1):
        with open("queue.txt", "r+") as f:
            fcntl.flock(f, fcntl.LOCK_EX)
            lines = [l for l in f.read().split("\n") if l.strip()]
            if lines:
                job, rest = lines[0], lines[1:]
                f.seek(0); f.truncate(); f.write("\n".join(rest) + "\n")
        if not lines:
            time.sleep(5); raise SystemExit
            time.sleep(5); continue
        parts = job.split()
        try: run(parts[0], int(parts[1]), dataset=parts[2] if len(parts) > 2 else "cifar10")
        except Exception as e: print("FAILED", job, repr(e), flush=True)
