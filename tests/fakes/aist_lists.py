"""Lists of segments of AIST++ as they are published."""

# The music and the segments of two and of six seconds of the 20 videos, by the
# beats of its music: 16 beats at 80 to 130 bpm.
VIDEOS = {
  'gBR_sBM_c01_d04_mBR0_ch02': (6, 2, 12.0),
  'gBR_sBM_c01_d05_mBR0_ch02': (6, 2, 12.0),
  'gHO_sBM_c01_d20_mHO5_ch02': (3, 1, 7.38),
  'gHO_sBM_c01_d21_mHO5_ch02': (3, 1, 7.38),
  'gJB_sBM_c01_d08_mJB5_ch02': (3, 1, 7.38),
  'gJB_sBM_c01_d09_mJB5_ch02': (3, 1, 7.38),
  'gJS_sBM_c01_d01_mJS3_ch02': (4, 2, 8.73),
  'gJS_sBM_c01_d03_mJS3_ch02': (4, 2, 8.73),
  'gKR_sBM_c01_d28_mKR2_ch02': (4, 2, 9.6),
  'gKR_sBM_c01_d30_mKR2_ch02': (4, 2, 9.6),
  'gLH_sBM_c01_d17_mLH4_ch02': (4, 2, 8.0),
  'gLH_sBM_c01_d18_mLH4_ch02': (4, 2, 8.0),
  'gLO_sBM_c01_d13_mLO2_ch02': (4, 2, 9.6),
  'gLO_sBM_c01_d15_mLO2_ch02': (4, 2, 9.6),
  'gMH_sBM_c01_d22_mMH3_ch02': (4, 2, 8.73),
  'gMH_sBM_c01_d24_mMH3_ch02': (4, 2, 8.73),
  'gPO_sBM_c01_d10_mPO1_ch02': (5, 2, 10.67),
  'gPO_sBM_c01_d11_mPO1_ch02': (5, 2, 10.67),
  'gWA_sBM_c01_d25_mWA0_ch02': (6, 2, 12.0),
  'gWA_sBM_c01_d26_mWA0_ch02': (6, 2, 11.97),
}


def lines(seconds, ending='wav'):
  which = {2: 0, 6: 1}[seconds]
  return [
    f'/data/someone/audio_s{seconds}/test/{video}_seg{k + 1}.{ending}'
    for video, facts in VIDEOS.items()
    for k in range(facts[which])
  ]
