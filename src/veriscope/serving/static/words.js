// What a number means, in words.

export const VERDICTS = { fake: "Looks fake", real: "Looks real", unsure: "Can’t tell" };

const ONE_OR_MANY = { fake: ["looks fake", "look fake"], real: ["looks real", "look real"], unsure: ["unsure", "unsure"] };

export const counted = (verdict, number) => `${number} ${ONE_OR_MANY[verdict][number === 1 ? 0 : 1]}`;

// A score from 0 to 1 as a number of 100, without claiming a certainty that nothing has.
export function ofHundred(score) {
  if (score < 0.01) return "under 1";
  if (score > 0.99) return "over 99";
  return String(Math.round(score * 100));
}

const round = (value) => String(Math.round(value * 1000) / 10);

export function meaning(result, model) {
  const { score } = result;
  if (result.video?.decides !== null && result.video?.decides !== undefined) {
    return `The score is that of face ${result.video.decides + 1}, in the middle of the frames that show it: of the faces that were followed for long enough it has the highest. Scores were calibrated on single pictures.`;
  }
  if (result.video) {
    return "The score is that of the middle of its frames. Scores were calibrated on single pictures: many frames that agree prove hardly more than one.";
  }
  if (result.faces?.found.length > 1) {
    return `The score is that of face ${result.faces.decides + 1}, the highest. The more faces a picture has, the likelier one of them looks fake by mistake.`;
  }
  if (!model.calibrated) {
    return "Scores of this detector are not calibrated: a higher one is more suspicious, and that is all they say.";
  }
  const few = score < 0.01 ? "fewer than 1" : score > 0.99 ? "more than 99" : `about ${Math.round(score * 100)}`;
  const rate = model.fake_share === null ? "" : ` if ${Math.round(model.fake_share * 100)} of 100 pictures are fakes`;
  return `Of pictures like those it was checked on, ${few} in 100 with such a score are fakes${rate}.`;
}

// Of a large photograph a detector may see a small part; a verdict on the whole would claim too much.
export function looked(result, model) {
  const [side, picture] = [model.sees_px, result.picture];
  if (side === null) return "";
  const faces = result.faces?.found ?? result.video?.faces ?? [];
  if (faces.length) {
    const { width, height } = faces[(result.faces ?? result.video).decides ?? 0];
    if (width <= side && height <= side) return "";
    return `Of the face it looked at the middle alone: ${Math.min(side, width)} × ${Math.min(side, height)} of ${width} × ${height} pixels.`;
  }
  if (!picture) return `Of each frame it looked at the central ${side} × ${side} pixels, or at the whole where that is smaller.`;
  const [width, height] = [picture.width_px, picture.height_px];
  if (width <= side && height <= side) return "";
  return `It looked at the middle alone: ${Math.min(side, width)} × ${Math.min(side, height)} of ${width} × ${height} pixels. The rest was not checked.`;
}

export function reasons(result, model) {
  const said = [];
  if (result.reasons.includes("near_threshold") && model.unsure) {
    said.push(
      `The score lies between ${round(model.unsure.low)} and ${round(model.unsure.high)}. So close to the line its ` +
        "verdicts were wrong too often when it was checked.",
    );
  }
  if (result.reasons.includes("part_looks_fake")) {
    const parts = result.video.suspicious.map((part) => `${clock(part.start_s)} to ${clock(part.end_s)}`);
    said.push(`A part of it looks fake: ${parts.slice(0, 5).join(", ")}. Its score, that of the middle of its frames, need not show that.`);
  }
  if (result.reasons.includes("unlike_training")) {
    said.push(`The ${result.video ? "video" : "picture"} is unlike those it was trained and checked on, so its score means little here.`);
  }
  return said;
}

export const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

export function describeScale(result, model) {
  const band = model.unsure
    ? ` Between ${round(model.unsure.low)} and ${round(model.unsure.high)} it can’t tell.`
    : "";
  return `Score ${ofHundred(result.score)} of 100. From ${round(model.threshold.value)} on it says fake.${band}`;
}

export function size(bytes) {
  return bytes >= 1e6 ? `${Math.round(bytes / 1e5) / 10} MB` : `${Math.max(Math.round(bytes / 1e3), 1)} kB`;
}

export function count(number, one, many) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

// One result as text for a note or a mail: what was found, by what, of which file.
export function asText(entry, model) {
  const { result, file, time } = entry;
  const lines = [`${result.name ?? file.name}: ${result.words ?? `no verdict (${result.error.message})`}`];
  if (result.score !== null) {
    lines.push(`  score ${(result.score * 100).toFixed(1)} of 100, fake from ${round(model.threshold.value)} on`);
  }
  const faces = result.faces?.found ?? result.video?.faces ?? [];
  const decides = result.faces?.decides ?? result.video?.decides ?? null;
  faces.forEach((face, place) => {
    const score = face.score === null ? "no verdict" : `${VERDICTS[face.verdict].toLowerCase()}, ${(face.score * 100).toFixed(1)}`;
    const where = `at ${face.left},${face.top} (${face.width} x ${face.height} px)`;
    lines.push(`  face ${place + 1} ${where}: ${score}${place === decides ? ", decides" : ""}`);
  });
  if (result.faces?.note) lines.push(`  faces: ${result.faces.note}`);
  if (result.unsure_because) lines.push(`  because: ${result.unsure_because}`);
  if (result.score !== null && looked(result, model)) lines.push(`  ${looked(result, model)}`);
  if (result.sha256) lines.push(`  file: SHA-256 ${result.sha256}`);
  lines.push(`  detector: ${model.name}, weights ${model.weights_sha256.slice(0, 12)}; ${time.toISOString()}`);
  return lines.join("\n");
}
