//! From the child that booted the node to the service of the running system: key, certificate, port.
