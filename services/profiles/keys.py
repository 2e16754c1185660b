"""The names of all Redis keys of profiles. All keys of a user share the hash tag of the user's shard.

animusic:live                        the generation that readers read
animusic:generations                 hash: generation -> JSON of its entry (see generations.py)
animusic:written                     hash: name of a mark -> generation to which the live consumer writes it
am:{sNN}:<generation>:marks          hash: name of a mark -> decimal offset of the next record
am:{sNN}:<generation>:forgotten      set of user ids
am:{sNN}:<generation>:u:<user id>    hash: the fields of contracts.fold, `#`, their version, and `~`,
                                     the names of the fields that changed with each of the last versions
am:{sNN}:<generation>:h:<user id>    hash: playlist id -> served at (8 bytes), revision (2), JSON list of songs; `#`
am:{sNN}:<generation>:p:<playlist>   string: revision (2 bytes), JSON of the ServedPlaylist
"""

from typing import Final, NamedTuple

from contracts.placement import shard_of, shard_tag

LIVE: Final = "animusic:live"
REGISTER: Final = "animusic:generations"
WRITTEN: Final = "animusic:written"
FIRST_GENERATION: Final = "g1"


class ShardKeys(NamedTuple):
    """The keys of one shard in one generation."""

    prefix: str

    @classmethod
    def of(cls, generation: str, shard: int) -> "ShardKeys":
        """The keys of a shard."""
        return cls(f"am:{shard_tag(shard)}:{generation}:")

    @classmethod
    def of_user(cls, generation: str, user_id: str) -> "ShardKeys":
        """The keys of a user's shard."""
        return cls.of(generation, shard_of(user_id))

    @property
    def marks(self) -> str:
        return f"{self.prefix}marks"

    @property
    def forgotten(self) -> str:
        return f"{self.prefix}forgotten"

    @property
    def playlists(self) -> str:
        """The prefix of playlists."""
        return f"{self.prefix}p:"

    def user(self, user_id: str) -> str:
        return f"{self.prefix}u:{user_id}"

    def history(self, user_id: str) -> str:
        return f"{self.prefix}h:{user_id}"

    def playlist(self, playlist_id: str) -> str:
        return f"{self.prefix}p:{playlist_id}"
