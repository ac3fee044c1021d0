"""The networks of ``architecture.py`` as plain torch, written from its docstring: the reference of compiled inference."""

import numpy as np
import torch
from torch import nn


class TorchModel(nn.Module):
    """Every linear layer by its name in the model file, and the way through them."""

    def __init__(self, architecture, weights):
        super().__init__()
        self.architecture = architecture
        self.layers = nn.ModuleDict()
        for name, shape in architecture.shapes().items():
            if name.endswith(".weight"):
                layer = nn.Linear(shape[1], shape[0])
                owner = name.removesuffix(".weight")
                with torch.no_grad():
                    layer.weight.copy_(torch.tensor(weights[name]))
                    layer.bias.copy_(torch.tensor(weights[f"{owner}.bias"]))
                self.layers[owner.replace(".", "/")] = layer
        self.eval()

    def layer(self, owner, name):
        return self.layers[f"{owner}/{name}"]

    def features(self, trunk, rows):
        """(N, R, C) normalised -> (N, 32)."""
        count, (p1, p2) = len(rows), trunk.patches
        seen = rows[:, :, list(trunk.columns)]
        first = self.layer(trunk.name, "patch1")(seen.reshape(count, trunk.rows // p1, -1)).relu()
        second = self.layer(trunk.name, "patch2")(first.reshape(count, trunk.rows // (p1 * p2), -1)).relu()
        return self.layer(trunk.name, "features")(second.reshape(count, -1)).relu()

    def head(self, head, inputs, tails):
        seen = torch.cat([inputs, tails[..., : head.tail]], dim=-1)
        if head.hidden:
            seen = self.layer(head.agent, "hidden")(seen).relu()
        return self.layer(head.agent, "logits")(seen)

    def forward(self, rows, tails, masks=None):
        """{agent: logits} of normalised rows (N, R, C) and tails (N, T), and {trunk: features}.

        ``masks``: {agent: (S, 32)} of zeros and ones for one window (N = 1); logits are then (S, K).
        """
        found, features = {}, {t.name: self.features(t, rows) for t in self.architecture.trunks}
        keep = 1.0 - self.architecture.dropout
        for head in self.architecture.heads:
            if head.trunk:
                inputs, tail = features[head.trunk], tails
                if masks is not None:
                    inputs = inputs * masks[head.agent] / keep
                    tail = tails.expand(len(inputs), -1)
                found[head.agent] = self.head(head, inputs, tail)
            else:
                beliefs = [logits.softmax(-1) for logits in found.values()]
                if masks is not None:
                    beliefs = [belief.mean(0, keepdim=True) for belief in beliefs]
                found[head.agent] = self.head(head, torch.cat(beliefs, dim=-1), tails)
        return found, features


def bits_of(masks):
    """(S,) uint32 -> (S, 32) of zeros and ones, lowest bit first."""
    return ((masks[:, None] >> np.arange(32, dtype=np.uint32)) & 1).astype(np.float32)
