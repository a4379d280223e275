// Runs the cases that every library and the server agree on, in whatever runtime this is loaded. `library` is the
// built package; the answer counts what passed and names what did not.
export async function conformance(library, vectors) {
  const failures = [];
  let [cases, signing] = [0, 0];
  const bytes = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  for (const { name, secret, time, tolerance, header, body, reason } of vectors.cases) {
    let found = null;
    try {
      await library.verifySignature(bytes(body), header, secret, { tolerance, now: time });
    } catch (error) {
      found = error instanceof library.SignatureError ? error.kind : String(error);
    }
    if (found === reason) cases++;
    else failures.push(`${name}: ${found}, not ${reason}`);
  }
  for (const { name, secrets, time, body, header } of vectors.signing) {
    const made = await library.signHeader(bytes(body), secrets, { at: time });
    if (made === header) signing++;
    else failures.push(`${name}: ${made}, not ${header}`);
  }
  return { cases, signing, failures };
}
