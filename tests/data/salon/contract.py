"""What a plug-in's own tests look like: pytest contract.py"""

from mkgb_salon import Salon, SalonOptions

from mkg_builder.snapshot import Snapshot
from mkg_builder.source import Answer
from mkg_builder.testing import SourceContract


class TestSalon(SourceContract):
    name = "salon"

    def source(self) -> Salon:
        return Salon(SalonOptions())

    def spoil(self, snapshot: Snapshot) -> None:
        body = b'[{"number": 1, "painter": "Ann", "surprise": true}]'
        snapshot.put(Answer("salon:list", 200, body, "application/json"))
