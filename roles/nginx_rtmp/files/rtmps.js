// Decides, per connection, which certificate an encoder is shown, as the web server does (roles/web/files/streams.js): the name's own
// where there is one, else that of the streams, which encoders that name nobody get, too. Files are looked up anew each time, so a new
// certificate needs no reload. Written for njs 0.7.9 (Debian 12) and later.

import fs from 'fs';

const CERTIFICATES = '/etc/streamfleet/tls/';
const LABEL = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?$/;

// A host name that may become a path, in lower case, or ''.
function hostName(value) {
    const name = String(value || '').toLowerCase();
    if (name.length > 253) {
        return '';
    }
    return name.split('.').every((label) => LABEL.test(label)) ? name : '';
}

function certificate(s) {
    const fallback = s.variables.streamfleet_default_host;
    const name = hostName(s.variables.ssl_server_name);
    if (name === '') {
        return fallback;
    }
    try {
        fs.accessSync(CERTIFICATES + name + '/fullchain.pem', fs.constants.R_OK);
        fs.accessSync(CERTIFICATES + name + '/privkey.pem', fs.constants.R_OK);
        return name;
    } catch (e) {
        // Not a name of this host's, or one whose key this unit may not read.
        return fallback;
    }
}

export default { certificate };
