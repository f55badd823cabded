"""What the native modules share: locks, atomics, clocks, and the checks of the debug build."""
