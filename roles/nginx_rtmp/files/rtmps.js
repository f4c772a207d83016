// Decides, per connection, which certificate an encoder is shown, by the same two functions as the web server (roles/web/files/streams.js;
// a test holds them together): the name's own where there is one that this unit may read, else that of the streams, which encoders that
// name nobody get, too. Files are looked up anew each time, so a new certificate needs no reload. Written for njs 0.7.9 (Debian 12) and later.

import fs from 'fs';

const CERTIFICATES = '/etc/streamfleet/tls/';
const HOST_LABEL = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?$/;

// A host name in lower case, such as a file may have; empty where it is none.
function hostName(given) {
    const name = String(given || '').toLowerCase();
    if (name.length > 253) {
        return '';
    }
    const labels = name.split('.');
    for (let i = 0; i < labels.length; i++) {
        if (!HOST_LABEL.test(labels[i])) {
            return '';
        }
    }
    return name;
}

function certificate(r) {
    const fallback = r.variables.streamfleet_default_host;
    const name = hostName(r.variables.ssl_server_name);
    if (name === '') {
        return fallback;
    }
    try {
        fs.accessSync(CERTIFICATES + name + '/fullchain.pem', fs.constants.R_OK);
        fs.accessSync(CERTIFICATES + name + '/privkey.pem', fs.constants.R_OK);
        return name;
    } catch (e) {
        return fallback;
    }
}

export default { certificate };
