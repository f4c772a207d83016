"""Doubles that run on a node, as source text for its Python: an engine that lies, a panel that says what it got."""

# Answers like Icecast, in HTTP/1.0, with whatever a hostile source could make an engine send; then numbers for ever.
# Writes the head of every request to /run/double-engine.log. /full, /login, /moved: errors as an engine has them.
ENGINE = r"""
import http.server, sys, time

class Engine(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"

    def do_GET(self):
        with open("/run/double-engine.log", "a") as log:
            log.write(self.requestline + "\n" + str(self.headers) + "\n")
        if self.path == "/full":
            self.send_error(403, "Too many clients")
            return
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "https://evil.example/")
            self.end_headers()
            return
        if self.path == "/login" and not self.headers.get("Authorization"):
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="Icecast2 Server"')
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if self.path == "/html" else "audio/mpeg; x=1")
        self.send_header("Set-Cookie", "sessionid=stolen; Path=/")
        self.send_header("Refresh", "0; url=https://evil.example/")
        self.send_header("Link", "<https://evil.example/x.css>; rel=stylesheet")
        self.send_header("Access-Control-Allow-Origin", "https://evil.example")
        self.send_header("Content-Security-Policy", "default-src *")
        self.send_header("Service-Worker-Allowed", "/")
        self.send_header("icy-name", "Double")
        if self.headers.get("Icy-MetaData") == "1":
            self.send_header("icy-metaint", "16000")
        self.end_headers()
        number = 0
        try:
            while True:
                self.wfile.write(b"".join(b"%07d\n" % ((number + n) % 10000000) for n in range(128)))
                number = (number + 128) % 10000000
                time.sleep(1 / 16)
        except OSError:
            pass

    do_HEAD = do_POST = do_OPTIONS = lambda self: self.send_error(400, "unknown request")

    def log_message(self, *arguments):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Engine).serve_forever()
"""

# Answers every request with the request's own head, and a cookie.
PANEL = r"""
import http.server, os, socketserver, sys

class Panel(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        length = int(self.headers.get("Content-Length") or 0)
        while length > 0:
            length -= len(self.rfile.read(min(length, 65536)))
        body = (self.requestline + "\n" + str(self.headers)).encode()
        self.send_response(200)
        self.send_header("Set-Cookie", "sessionid=panel; Path=/; Secure; HttpOnly")
        self.send_header("X-Frame-Options", "ALLOWALL")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def address_string(self):
        return "socket"

    def log_message(self, *arguments):
        pass

class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

os.makedirs(os.path.dirname(sys.argv[1]), exist_ok=True)
if os.path.exists(sys.argv[1]):
    os.unlink(sys.argv[1])
server = Server(sys.argv[1], Panel)
os.chmod(sys.argv[1], 0o666)
server.serve_forever()
"""
