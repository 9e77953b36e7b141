"""A BitTorrent tracker that names these peers to everybody at once: tracker.py ADDRESS PEER..."""
import http.server
import socket
import struct
import sys

address, *peers = sys.argv[1:]
compact = b"".join(socket.inet_aton(peer) + struct.pack(">H", 6881) for peer in peers)
answer = b"d8:intervali1e12:min intervali1e5:peers%d:%se" % (len(compact), compact)


class Tracker(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer((address, 6969), Tracker)
print("listening", flush=True)
server.serve_forever()
