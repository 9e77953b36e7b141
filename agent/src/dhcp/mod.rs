//! The agent's DHCP client.
