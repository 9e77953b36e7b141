//! `wulf-agent fetch`: the swarm without PXE, for any Linux host that holds a ticket.
