//! What a caller may do: start, reply, cancel, follow, await the result.
