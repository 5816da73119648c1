"""Find speech in generated audio with Silero VAD, a TorchScript model.

The model lies in the installed distribution silero-vad, so nothing is
downloaded. Every run on one machine prints the same digits. Where
TAPER_VERIFY_OUT names a folder, the audio and the probability of speech in each
window are left there as raw 32-bit floats, sound.f32 and probabilities.f32.
"""

import argparse
import hashlib
import math
import os
from pathlib import Path

import torch
from silero_vad import VADIterator, get_speech_timestamps, load_silero_vad


def voice(seconds: float, rate: int, pitch: float, generator: torch.Generator) -> torch.Tensor:
    """Vowels as a voice makes them: a pulse train of gliding pitch through three resonances."""
    count = int(seconds * rate)
    time = torch.arange(count) / rate
    glide = pitch * (1.0 + 0.15 * torch.sin(2.0 * math.pi * 1.7 * time))
    glide = glide * (1.0 + 0.01 * torch.randn(count, generator=generator))
    phase = torch.cumsum(glide / rate, dim=0)
    pulses = torch.diff(torch.floor(phase), prepend=torch.zeros(1))
    spectrum = torch.fft.rfft(pulses)
    frequency = torch.fft.rfftfreq(count, 1.0 / rate)
    gain = torch.zeros_like(frequency)
    for centre, width, strength in [(700.0, 90.0, 1.0), (1220.0, 110.0, 0.5), (2600.0, 160.0, 0.25)]:
        gain += strength / (1.0 + ((frequency - centre) / width) ** 2)
    sound = torch.fft.irfft(spectrum * gain, n=count)
    syllables = torch.clamp(torch.sin(2.0 * math.pi * 3.5 * time), min=0.0) ** 0.5
    sound = sound * syllables
    return 0.5 * sound / sound.abs().max()


def audio(seconds: float, rate: int, generator: torch.Generator) -> torch.Tensor:
    """Noise, a chirp that is no speech, and two voices, in turn until `seconds` are full."""
    count = int(seconds * rate)
    sound = 0.003 * torch.randn(count, generator=generator)
    time = torch.arange(int(0.8 * rate)) / rate
    chirp = 0.2 * torch.sin(2.0 * math.pi * (300.0 * time + 1500.0 * time**2))
    parts = [chirp, voice(1.6, rate, 118.0, generator), voice(1.3, rate, 205.0, generator)]
    at, turn = int(0.5 * rate), 0
    while at < count:
        part = parts[turn % len(parts)][: count - at]
        sound[at : at + len(part)] += part
        at += len(part) + int(0.7 * rate)
        turn += 1
    return sound


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=8.0, help="length of the audio")
    parser.add_argument("--rate", type=int, default=16000, choices=[8000, 16000])
    arguments = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    sound = audio(arguments.seconds, arguments.rate, torch.Generator().manual_seed(7))
    model = load_silero_vad()

    for part in get_speech_timestamps(sound, model, sampling_rate=arguments.rate):
        print("speech", part["start"], part["end"])

    # The same audio as it would come from a microphone, one window at a time.
    window = 512 if arguments.rate == 16000 else 256
    stream = VADIterator(model, sampling_rate=arguments.rate)
    for start in range(0, len(sound) - window + 1, window):
        if event := stream(sound[start : start + window]):
            print("stream", *(f"{name} {value}" for name, value in event.items()))
    model.reset_states()

    with torch.inference_mode():
        probabilities = model.audio_forward(sound[None], arguments.rate)
    print("mean", repr(probabilities.double().mean().item()))
    print("sha256", hashlib.sha256(probabilities.numpy().tobytes()).hexdigest())
    if folder := os.environ.get("TAPER_VERIFY_OUT"):
        probabilities.numpy().tofile(Path(folder) / "probabilities.f32")
        sound.numpy().tofile(Path(folder) / "sound.f32")


if __name__ == "__main__":
    main()
