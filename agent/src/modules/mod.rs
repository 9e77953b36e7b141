//! Kernel modules by modalias, with dependencies, options and order.
