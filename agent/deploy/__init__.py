"""How a release comes into service, and how it leaves again without leaving a device blind."""
