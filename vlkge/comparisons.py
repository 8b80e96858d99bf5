"""How like a query and an entity are: quickly, with a sound bound on the error, or pair by pair exactly."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn.functional import embedding

from vlkge.sampled import measure_open, sampled_distances, sampled_products

UNIT_ROUNDOFF = {"highest": 2.0**-24, "high": 2.0**-11, "medium": 2.0**-8}
"""Of a float32 product under each of torch's float32 matmul precisions: float32, TensorFloat32, bfloat16."""

PAIR_VALUES = 2**19
"""How many components of pairs are compared at a time: few enough to stay in the processor's cache."""

DOUBLE_ROUNDOFF = 2.0**-53
SMALLEST_SQUARE = 1e-12
"""Squared distances below this are rounding, and have no gradient."""
TINY = 2.0**-126
"""Below it float32 loses digits whatever the relative error."""


class Comparison(ABC):
    """An order of entities by their likeness to a query.

    A key is any number that grows with the likeness. `approximate` and `exact` give keys of one
    query that differ by `shift` of that query and by the error of `approximate`, which is at most
    `error_bound`: what lies further than that from a target is rightly placed without `exact`.
    """

    @abstractmethod
    def pairs(self, queries: Tensor, entities: Tensor) -> Tensor:
        """The likeness [...] of vectors [..., k] that broadcast against each other, differentiable."""

    @abstractmethod
    def matrix(self, queries: Tensor, entities: Tensor) -> Tensor:
        """The likeness [b, m] of queries [b, k] and entities [m, k], differentiable, as quick as can be."""

    @abstractmethod
    def sampled(self, queries: Tensor, entities: Tensor, index: Tensor) -> Tensor:
        """The likeness [b, j] of query i [b, k] and the entities `index[i]`, rows of [n, k]; as `matrix`."""

    def similarities(self, queries: Tensor, entities: Tensor) -> Tensor:
        """The likeness [b, m] of queries [b, k] and entities [m, k], without cancellation."""
        return self.matrix(queries, entities)

    def offsets(self, entities: Tensor) -> Tensor:
        """What `approximate` adds to the keys of float32 entities [m, k], [m]; computed once for all queries."""
        return entities.new_zeros(len(entities))

    @abstractmethod
    def approximate(self, queries: Tensor, entities: Tensor, offsets: Tensor, floor: Tensor, out: Tensor) -> Tensor:
        """Keys [b, m] of float32 queries [b, k] and entities [m, k] with their offsets [m], into `out`.

        What is under `floor` [b] need not be right, only under it.
        """

    @abstractmethod
    def exact(self, queries: Tensor, entities: Tensor) -> Tensor:
        """Keys [p] of float64 pairs [p, k]."""

    def shift(self, queries: Tensor) -> Tensor:
        """What `approximate` leaves out of the keys of float64 queries [b, k], float64 [b]."""
        return queries.new_zeros(len(queries))

    def size(self, vectors: Tensor) -> Tensor:
        """A bound [n] on the lengths of vectors [n, k], as `magnitude` takes them."""
        lengths: Tensor = torch.linalg.vector_norm(vectors, dim=1)
        return lengths.double() * 1.01

    @abstractmethod
    def magnitude(self, query: Tensor, entity: Tensor) -> Tensor:
        """A bound on the sum of what `approximate` adds up, without signs, from sizes that broadcast."""

    def error_bound(self, query: Tensor, entity: Tensor, terms: int) -> Tensor:
        """How far off `approximate` is at most, from sizes that broadcast.

        Summing n rounded products in any order errs by less than (n + 1) u / (1 - n u) of the sum of
        their magnitudes (Higham, "Accuracy and Stability of Numerical Algorithms", 2002, section 3.1);
        the rest of the factor covers the rounding of the operands and of the thresholds.
        """
        unit = UNIT_ROUNDOFF[torch.get_float32_matmul_precision()]
        return 1.01 * (terms + 8) * (unit * self.magnitude(query, entity) + TINY)

    def blur(self, keys: Tensor, query: Tensor, entity: Tensor, terms: int) -> Tensor:  # noqa: ARG002
        """How far off `exact` is at most: keys nearer than that are equal."""
        return (terms + 8) * DOUBLE_ROUNDOFF * keys.abs()


class Product(Comparison):
    """The dot product."""

    def pairs(self, queries: Tensor, entities: Tensor) -> Tensor:
        """Dot products."""
        products: Tensor = torch.linalg.vecdot(queries, entities)  # einsum's gradient is five times as slow
        return products

    def matrix(self, queries: Tensor, entities: Tensor) -> Tensor:
        """Dot products."""
        return queries @ entities.T

    def sampled(self, queries: Tensor, entities: Tensor, index: Tensor) -> Tensor:
        """Dot products."""
        return sampled_products(queries, entities, index)

    def approximate(self, queries: Tensor, entities: Tensor, offsets: Tensor, floor: Tensor, out: Tensor) -> Tensor:  # noqa: ARG002
        """Dot products, as one matrix product."""
        return torch.mm(queries, entities.T, out=out)

    def exact(self, queries: Tensor, entities: Tensor) -> Tensor:
        """Dot products."""
        return torch.einsum("pk,pk->p", queries, entities)

    def magnitude(self, query: Tensor, entity: Tensor) -> Tensor:
        """By Cauchy and Schwarz."""
        return query * entity

    def blur(self, keys: Tensor, query: Tensor, entity: Tensor, terms: int) -> Tensor:  # noqa: ARG002
        """Products may cancel, so their sum says nothing of their error."""
        return (terms + 8) * DOUBLE_ROUNDOFF * self.magnitude(query, entity)


class Euclidean(Comparison):
    """The negative Euclidean distance."""

    def pairs(self, queries: Tensor, entities: Tensor) -> Tensor:
        """Negative distances, by differences."""
        distances: Tensor = torch.linalg.vector_norm(queries - entities, dim=-1)
        return -distances

    def matrix(self, queries: Tensor, entities: Tensor) -> Tensor:
        """Negative distances by `|q|^2 - 2qe + |e|^2`, which loses those far below the vectors' lengths."""
        return self._of_squares(queries, _squares(entities), queries @ entities.T)

    def sampled(self, queries: Tensor, entities: Tensor, index: Tensor) -> Tensor:
        """Negative distances, as `matrix`."""
        products = sampled_products(queries, entities, index)
        squares = embedding(index, _squares(entities)[:, None])[..., 0]  # an index adds its gradient up in any order
        return self._of_squares(queries, squares, products)

    @staticmethod
    def _of_squares(queries: Tensor, squares: Tensor, products: Tensor) -> Tensor:
        return -(_squares(queries)[:, None] - 2 * products + squares).clamp(min=SMALLEST_SQUARE).sqrt()

    def similarities(self, queries: Tensor, entities: Tensor) -> Tensor:
        """Negative distances; by differences, since the product form loses small ones to cancellation."""
        return -torch.cdist(queries, entities, p=2.0, compute_mode="donot_use_mm_for_euclid_dist")

    def offsets(self, entities: Tensor) -> Tensor:
        """`-|e|^2 / 2`."""
        return torch.einsum("mk,mk->m", entities, entities) / -2

    def approximate(self, queries: Tensor, entities: Tensor, offsets: Tensor, floor: Tensor, out: Tensor) -> Tensor:  # noqa: ARG002
        """`q e - |e|^2 / 2`, which is `(|q|^2 - |q - e|^2) / 2`, as one matrix product."""
        return torch.addmm(offsets, queries, entities.T, out=out)

    def exact(self, queries: Tensor, entities: Tensor) -> Tensor:
        """`-|q - e|^2 / 2`, by the difference."""
        difference = queries - entities
        return torch.einsum("pk,pk->p", difference, difference) / -2

    def shift(self, queries: Tensor) -> Tensor:
        """`|q|^2 / 2`."""
        return torch.einsum("bk,bk->b", queries, queries) / 2

    def magnitude(self, query: Tensor, entity: Tensor) -> Tensor:
        """Of the product and of the halved square."""
        return query * entity + entity.square() / 2


class Manhattan(Comparison):
    """The negative sum of the components' distances."""

    def pairs(self, queries: Tensor, entities: Tensor) -> Tensor:
        """Negative distances."""
        return -(queries - entities).abs().sum(-1)

    def matrix(self, queries: Tensor, entities: Tensor) -> Tensor:
        """Negative distances."""
        return -torch.cdist(queries, entities, p=1.0)

    def sampled(self, queries: Tensor, entities: Tensor, index: Tensor) -> Tensor:
        """Negative distances."""
        return -sampled_distances(queries, entities, index)

    def approximate(self, queries: Tensor, entities: Tensor, offsets: Tensor, floor: Tensor, out: Tensor) -> Tensor:  # noqa: ARG002
        """Negative distances where a matrix product does not show them to be under the floor.

        For any signs s, `s (e - q)` is at least `-|q - e|_1`; those of q seen from the middle of the
        entities come near it where q is far out.
        """
        if not queries.is_cpu:
            return out.copy_(self.matrix(queries, entities))
        signs = (queries - entities.mean(0)).sign_()
        torch.mm(signs, entities.T, out=out).sub_((signs * queries).sum(1, keepdim=True))
        measure_open(queries, entities, floor, out)
        return out

    def exact(self, queries: Tensor, entities: Tensor) -> Tensor:
        """Negative distances."""
        return (queries - entities).abs_().sum(-1).neg_()

    def size(self, vectors: Tensor) -> Tensor:
        """In the same norm."""
        lengths: Tensor = torch.linalg.vector_norm(vectors, ord=1, dim=1)
        return lengths.double() * 1.01

    def magnitude(self, query: Tensor, entity: Tensor) -> Tensor:
        """By the triangle inequality."""
        return query + entity


def _squares(vectors: Tensor) -> Tensor:
    squares: Tensor = torch.linalg.vecdot(vectors, vectors)
    return squares
