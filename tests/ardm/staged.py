"""Staged models that are small enough to enumerate: trees, arrangements, exact distributions."""

import itertools

import torch

from ardm import masked_losses
from ardm.arrangements import reveal_times

# settings and the length at which everything is enumerated
TREES = {
    "plain": ({"vocab_size": 4, "mask_token_id": 3}, 3),
    "digits": ({"vocab_size": 5, "mask_token_id": 4, "num_stages": 2, "branching_factor": 2}, 3),
    "ragged": ({"vocab_size": 6, "mask_token_id": 5, "num_stages": 2, "branching_factor": 3}, 2),
    "deep": ({"vocab_size": 7, "mask_token_id": 6, "num_stages": 3, "branching_factor": 2}, 2),
    "table": ({"vocab_size": 5, "mask_token_id": 4, "value_tree": [[0, 1, 1, 0]]}, 3),
    "special ids": (
        {
            "vocab_size": 7,
            "mask_token_id": 2,
            "pad_token_id": 6,
            "bos_token_id": 0,
            "eos_token_id": 5,
            "value_tree": [[0, 1, 0]],
        },
        2,
    ),
}
ORDERS = ("stagewise", "interleaved")
PARAMETRIZATIONS = ("data", "direct")
# all that the laws are asked of
KINDS = [("plain", "stagewise", "data")] + [
    kind for kind in itertools.product(TREES, ORDERS, PARAMETRIZATIONS) if kind[0] != "plain"
]


def settings_of(tree, stage_order="stagewise", parametrization="data"):
    return {"stage_order": stage_order, "parametrization": parametrization} | TREES[tree][0]


def arrangements_of(stages, length):
    """All orders of the S*L reveals, as positions."""
    permutations = [*itertools.permutations(range(length))]
    if stages.interleaved:
        return sorted({*itertools.permutations([*range(length)] * stages.num_stages)})
    stages_of_them = itertools.product(permutations, repeat=stages.num_stages)
    return [tuple(itertools.chain(*orders)) for orders in stages_of_them]


class StagedEnumeration:
    """The exact distributions of a model over sequences of a length.

    Attributes:
        sequences: int64 (N, L), all texts.
        log_probs: float64 (canvases, L, nodes), log p(node | its parent) of each node at each
            position of each canvas, by sums over leaves or slices of logits.
    """

    @torch.no_grad()
    def __init__(self, model, length):
        self.stages = model.stages
        self.length = length
        self._find_nodes(model.config.vocab_size)
        leaves = [node for node in self.nodes if self.level[node] == self.stages.num_stages]
        self.sequences = torch.tensor([*itertools.product(leaves, repeat=length)])
        canvases = torch.tensor([*itertools.product(self.nodes, repeat=length)])
        outputs = model(canvases).logits.double()
        self.log_probs = torch.full((*canvases.shape, len(self.nodes)), -torch.inf).double()
        for node in self.nodes:
            self.log_probs[..., self.number[node]] = self._log_prob(outputs, node)

    def _find_nodes(self, vocab_size):
        """Nodes, and for each its level, its parent and the leaves below it."""
        root = self.stages.mask_token_id
        tree = self.stages.tree
        if tree is None:
            self.paths = torch.stack((torch.full((vocab_size,), root), torch.arange(vocab_size)))
            leaves = [token for token in range(vocab_size) if token != root]
        else:
            self.paths = tree.ancestors_SV
            leaves = sorted(tree.leaf_order.tolist())
        self.level, self.parent, self.below = {root: 0}, {root: root}, {}
        for leaf in leaves:
            path = self.paths[:, leaf].tolist()
            for level, node in enumerate(path):
                self.level[node] = level
                self.parent[node] = path[max(level - 1, 0)]
                self.below.setdefault(node, []).append(leaf)
        self.nodes = sorted(self.level)
        self.number = {node: number for number, node in enumerate(self.nodes)}
        self.children = {
            node: [c for c in self.nodes if self.parent[c] == node and c != root]
            for node in self.nodes
        }

    def _log_prob(self, outputs, node):
        """log p(node | its parent), (canvases, L)."""
        level, parent = self.level[node], self.parent[node]
        if not level:
            return -torch.inf
        if not self.stages.direct:
            return outputs[..., self.below[node]].logsumexp(-1) - outputs[
                ..., self.below[parent]
            ].logsumexp(-1)
        widths = [
            max(len(self.children[n]) for n in self.nodes if self.level[n] == at)
            for at in range(level)
        ]
        first = sum(widths[:-1])
        siblings = sorted(self.children[parent], key=lambda one: int(self.stages.tree.slot_M[one]))
        logits = outputs[..., first : first + len(siblings)].log_softmax(-1)
        return logits[..., siblings.index(node)]

    def at(self, canvas):
        """log p(node | its parent), (..., L, nodes), given canvases (..., L)."""
        base = len(self.nodes) ** torch.arange(self.length).flip(0)
        numbers = torch.zeros(max(self.nodes) + 1, dtype=torch.long)
        numbers[self.nodes] = torch.arange(len(self.nodes))
        return self.log_probs[(numbers[canvas] * base).sum(-1)]

    def terms(self, arrangement, plan=None, sequences=None, given=()):
        """log p of each reveal of an arrangement, (N, reveals), some positions known before."""
        sequences = self.sequences if sequences is None else sequences
        queue = [*arrangement]
        level = torch.zeros(self.length, dtype=torch.long)
        level[[*given]] = self.stages.num_stages
        terms = []
        for size in plan or [1] * len(queue):
            known = self.at(self.paths[level, sequences])
            for position in queue[:size]:
                level[position] += 1
                nodes = self.paths[level[position], sequences[:, position]]
                numbers = torch.tensor([self.number[node] for node in nodes.tolist()])
                terms.append(known[:, position].gather(1, numbers[:, None])[:, 0])
            queue = queue[size:]
        assert not queue and (level == self.stages.num_stages).all()
        return torch.stack(terms, 1)

    def log_prob(self, arrangement, plan=None, sequences=None, given=()):
        """log p(x | arrangement, plan) of all or the given sequences."""
        return self.terms(arrangement, plan, sequences, given).sum(1)

    def arrangements(self, given=()):
        """All of them, without known positions."""
        free = [p for p in range(self.length) if p not in given]
        every = arrangements_of(self.stages, len(free))
        return [[free[place] for place in one] for one in every]

    def random_order_probs(self, plan=None):
        """The law of a random order: the mean over all of them."""
        every = self.arrangements()
        return torch.stack([self.log_prob(one, plan).exp() for one in every]).mean(0)

    def step_losses(self, sequences=None, given=()):
        """E -log p of the t-th reveal, float64 (N, reveals), nats; they sum to the bound."""
        every = self.arrangements(given)
        terms = [self.terms(one, None, sequences, given) for one in every]
        return -torch.stack(terms).mean(0)

    # ----------------------------------------------------------------------- orders by the logits
    def law(self, policy, start=None):
        """Distribution over `sequences` when a policy says what each step reveals.

        `policy(step, canvas, log_probs)` gives [(reveals by position, probability), ...].
        """
        root = self.stages.mask_token_id
        states = {tuple(start or (root,) * self.length): 1.0}
        done: dict = {}
        for step in itertools.count():
            if not states:
                break
            following: dict = {}
            for canvas, weight in states.items():
                log_probs = self.at(torch.tensor(canvas))
                for reveals, chance in policy(step, canvas, log_probs):
                    for new, share in self._outcomes(canvas, log_probs, reveals):
                        hidden = any(self.is_hidden(node) for node in new)
                        target = following if hidden else done
                        target[new] = target.get(new, 0.0) + weight * chance * share
            states = following
        probs = [done.get(tuple(row), 0.0) for row in self.sequences.tolist()]
        return torch.tensor(probs, dtype=torch.float64)

    def _outcomes(self, canvas, log_probs, reveals):
        """Canvases after a step, and their probabilities: each position on its own."""
        by_position = [
            self._below(node, reveals.get(position, 0), log_probs[position])
            for position, node in enumerate(canvas)
        ]
        for outcome in itertools.product(*by_position):
            share = 1.0
            for _, of_one in outcome:
                share *= of_one
            yield tuple(node for node, _ in outcome), share

    def _below(self, node, reveals, log_probs):
        """The nodes so many levels lower, with their probabilities."""
        reached = [(node, 1.0)]
        for _ in range(reveals):
            reached = [
                (child, share * float(log_probs[self.number[child]].exp()))
                for above, share in reached
                for child in self.children[above]
            ]
        return reached

    def is_hidden(self, node):
        return self.level.get(node, self.stages.num_stages) < self.stages.num_stages

    def open_positions(self, canvas):
        """What may be revealed next."""
        hidden = [p for p, node in enumerate(canvas) if self.is_hidden(node)]
        if self.stages.interleaved or not hidden:
            return hidden
        least = min(self.level[canvas[p]] for p in hidden)
        return [p for p in hidden if self.level[canvas[p]] == least]

    def next_log_probs(self, canvas, log_probs, position):
        """float64 (children,), of the next reveal."""
        return log_probs[position, [self.number[c] for c in self.children[canvas[position]]]]

    def ranked(self, name, canvas, log_probs):
        """Open positions, surest first and the leftmost first among equals."""
        scores = {
            p: float(SCORES[name](self.next_log_probs(canvas, log_probs, p)))
            for p in self.open_positions(canvas)
        }
        return sorted(scores, key=lambda p: (-round(scores[p], 5), p))

    def shared(self, canvas, first, count):
        """One reveal for each of the first candidates, then a second one where stages overlap."""
        left = {p: self.stages.num_stages - self.level[canvas[p]] for p in first}
        if not self.stages.interleaved:
            return dict.fromkeys(first[:count], 1)
        reveals = dict.fromkeys(first, 0)
        for turn in range(self.stages.num_stages):
            for position in first:
                if left[position] > turn and count:
                    reveals[position] += 1
                    count -= 1
        return reveals

    def surest_first(self, name, sizes):
        """The policy of an order by the logits and a plan."""

        def policy(step, canvas, log_probs):
            return [(self.shared(canvas, self.ranked(name, canvas, log_probs), sizes[step]), 1.0)]

        return policy


SCORES = {
    "confidence": lambda log_probs: log_probs.amax(),
    "margin": lambda log_probs: (
        (torch.cat((log_probs.exp(), log_probs.new_zeros(1)))).sort().values[-2:].diff()
    ),
    "entropy": lambda log_probs: (log_probs.exp() * log_probs).sum(),
}


def p_value(enumeration, exact, samples, probs):
    """Of the chi-square test; ids are numbered first, as `enumeration` has them."""
    leaves = torch.tensor(sorted({*exact.sequences.flatten().tolist()}))
    numbered = enumeration.__new__(enumeration)
    numbered.length, numbered.mask = exact.length, len(leaves)
    numbers = torch.searchsorted(leaves, samples)
    assert torch.equal(leaves[numbers.clamp(max=len(leaves) - 1)], samples)
    return numbered.p_value(numbers, probs)


def take_all_orders(monkeypatch, stages, num_tokens):
    """Every count of a row has each order once: the average over them is exact.

    Returns how many there are.
    """
    if stages.interleaved:
        cells = itertools.permutations([*range(num_tokens)] * stages.num_stages)
        orders = torch.tensor(sorted({*cells}))
        times = reveal_times(orders, (len(orders), num_tokens), stages.num_stages)
        ranks = times.transpose(1, 2).double()
    else:
        ranks = torch.tensor([*itertools.permutations(range(num_tokens))]).double()

    def uniforms(seed, keys, length, stages):
        orders = keys % 2**32 // (num_tokens * stages.num_stages)
        some = ranks[orders]  # the places behind a row's last token are not read
        return torch.cat((some, some[:, :1].expand(-1, length - num_tokens, *some.shape[2:])), 1)

    monkeypatch.setattr(masked_losses, "order_uniforms", uniforms)
    return len(ranks)


def cross_entropy(stages, output, node, leaf):
    """-log p(next node on the way to a leaf), by the masses of leaves or the child's own logit."""
    level = int(stages.level(torch.tensor(node)))
    child = int(stages.coarsen(torch.tensor(leaf), level + 1))
    if stages.tree is None:
        return output.logsumexp(0) - output[leaf]
    if not stages.direct:
        below, whole = (output[stages.tree.leaves(one)].logsumexp(0) for one in (child, node))
        return whole - below
    siblings = stages.tree.children_RW[stages.tree.row_M[node]]
    siblings = siblings[siblings >= 0].tolist()
    first = sum(map(max, stages.tree.sizes[:level]))
    logits = output[first : first + len(siblings)]
    return logits.logsumexp(0) - logits[siblings.index(child)]


def mean_by_hand(stages, outputs, canvas, labels):
    """(B,), each row's mean over what may come next; where stages overlap, by what is left."""
    means = []
    for row, label in enumerate(labels):
        total = outputs.new_zeros(())
        whole = 0
        for p in (label != -100).nonzero()[:, 0].tolist():
            level = int(stages.level(canvas[row, p]))
            weight = stages.num_stages - level if stages.interleaved else 1
            ce = cross_entropy(stages, outputs[row, p], int(canvas[row, p]), int(label[p]))
            total = total + weight * ce
            whole += weight
        means.append(total / max(whole, 1))
    return torch.stack(means)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def close(actual, expected, tolerance=1e-5):
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)
