//! What a person at the console sees: phases, progress, and the Rescue prompt.
