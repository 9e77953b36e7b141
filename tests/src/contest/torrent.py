"""One libtorrent peer: torrent.py TORRENT DIR ADDRESS seed|leech PEER...

Every peer knows every other, nothing but TCP on the lab's network is used, and no default limits are left that were made for
home links. Prints "listening", and "complete SECONDS" since the start of the program, and goes on seeding until it is ended.
"""
import sys
import time

import libtorrent as lt

BEGUN = time.monotonic()
torrent, directory, address, role, *peers = sys.argv[1:]
session = lt.session({
    "listen_interfaces": f"{address}:6881",
    "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
    "enable_incoming_utp": False, "enable_outgoing_utp": False,
    "connections_limit": 500, "connection_speed": 500, "smooth_connects": False, "torrent_connect_boost": 200,
    "unchoke_slots_limit": 8, "choking_algorithm": 0, "seed_choking_algorithm": 1, "unchoke_interval": 2,
    "max_out_request_queue": 1500, "max_allowed_in_request_queue": 4000, "request_queue_time": 1,
    "allow_multiple_connections_per_ip": False, "strict_end_game_mode": False, "whole_pieces_threshold": 20,
    "initial_picker_threshold": 0, "rate_limit_ip_overhead": False, "min_reconnect_time": 1,
    "in_enc_policy": 2, "out_enc_policy": 2, "alert_mask": 0,
})
params = lt.add_torrent_params()
params.ti = lt.torrent_info(torrent)
params.save_path = directory
if role == "seed":
    params.flags |= lt.torrent_flags.seed_mode
params.flags &= ~lt.torrent_flags.auto_managed
params.flags &= ~lt.torrent_flags.paused
handle = session.add_torrent(params)
for peer in peers:
    handle.connect_peer((peer, 6881))
print("listening", flush=True)
while not handle.status().is_seeding:
    time.sleep(0.02)
print(f"complete {time.monotonic() - BEGUN:.3f}", flush=True)
while True:
    time.sleep(60)
