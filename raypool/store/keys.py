"""Every key in Redis: its name, type, TTL and writer. Nobody else builds a key. Pure.

``{p}`` is the partition: everything that one script must reach at once carries the same hash tag.

===========================  ======  ====================  =========================================
key after the prefix         type    TTL                   holds
===========================  ======  ====================  =========================================
``meta``                     hash    none                  schema, partitions, identity, index key
``{p}:session:<sid>``        hash    expiry                the record
``{p}:parts:<sid>``          hash    expiry                sealed parts; field = keyed digest
``{p}:checkpoints:<sid>``    hash    expiry                sealed manifests; field = version
``{p}:lease:<business>``     hash    the lease             holder, token, since, key ids
``{p}:token:<business>``     string  90 days               last fencing token given out
``{p}:index:expiry``         zset    longest member        sid by expiry (ms)
``{p}:index:business:<b>``   zset    longest member        sid by expiry
``{p}:index:email:<hmac>``   zset    longest member        sid by expiry; never the address itself
``{p}:index:status:<s>``     zset    longest member        sid by expiry
``{p}:index:desired:<d>``    zset    longest member        sid by expiry
``{p}:breaker:<site>``       hash    1 to 30 min           circuit breaker of a site
``{p}:index:breakers``       zset    longest member        site by expiry (ms)
``{p}:events``               stream  none, about 10,000    one entry a change
``{p}:audit``                stream  none, about 10,000    one entry for what a person broke
===========================  ======  ====================  =========================================
"""

import uuid
import zlib
from dataclasses import dataclass

SCHEMA = "1"
EVENTS_KEPT = 10_000
TOKEN_TTL_S = 90 * 86_400


@dataclass(frozen=True)
class Keys:
    """Names of keys under one prefix."""

    prefix: str
    partitions: int = 1

    @property
    def meta(self) -> str:
        """The only key without a partition."""
        return f"{self.prefix}meta"

    def partition_of(self, business_id: str) -> int:
        """Return the partition that holds all of a business."""
        return zlib.crc32(business_id.encode()) % self.partitions

    def new_session_id(self, business_id: str) -> str:
        """Return a fresh session id; it carries its partition: an id alone finds its keys."""
        return f"{self.partition_of(business_id):02d}-{uuid.uuid4().hex}"

    def session(self, sid: str) -> str:
        """The record."""
        return self._of_session("session", sid)

    def parts(self, sid: str) -> str:
        """The sealed parts."""
        return self._of_session("parts", sid)

    def checkpoints(self, sid: str) -> str:
        """The sealed manifests."""
        return self._of_session("checkpoints", sid)

    def lease(self, business_id: str) -> str:
        """The lease."""
        return self._of_business("lease", business_id)

    def token(self, business_id: str) -> str:
        """The last fencing token."""
        return self._of_business("token", business_id)

    def breaker(self, site: str) -> str:
        """The circuit breaker of a site; sites spread over the partitions as businesses do."""
        return self._of_business("breaker", site)

    def index(self, partition: int, name: str) -> str:
        """An index, by name: ``expiry``, ``business:<id>``, … as in the table above."""
        return f"{self.prefix}{{{partition}}}:index:{name}"

    def events(self, partition: int) -> str:
        """The stream of changes."""
        return f"{self.prefix}{{{partition}}}:events"

    def audit(self, partition: int) -> str:
        """The stream of what people did."""
        return f"{self.prefix}{{{partition}}}:audit"

    def all_partitions(self) -> range:
        """Every partition."""
        return range(self.partitions)

    def partition_of_session(self, sid: str) -> int:
        """Return the partition in a session id; one that is not ours falls into the first."""
        head = sid.split("-", 1)[0]
        number = int(head) if head.isdecimal() else 0
        return number if number < self.partitions else 0

    def _of_session(self, kind: str, sid: str) -> str:
        return f"{self.prefix}{{{self.partition_of_session(sid)}}}:{kind}:{sid}"

    def _of_business(self, kind: str, business_id: str) -> str:
        return f"{self.prefix}{{{self.partition_of(business_id)}}}:{kind}:{business_id}"
